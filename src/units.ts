/** Sizes for people to read. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/**
 * `bytes` in the largest unit that leaves at least 1, with one decimal: 180 MiB. More than nothing never shows as 0.
 * Round what is needed up and what there is down: then the first always reads as the larger of the two.
 */
export function formatSize(bytes: number, round = Math.round): string {
  let power = 0;
  while (power < UNITS.length - 1 && bytes >= 1024 ** (power + 1)) power++;
  const value = power === 0 ? Math.ceil(bytes) : round((bytes / 1024 ** power) * 10) / 10;
  return `${value} ${UNITS[power]}`;
}
