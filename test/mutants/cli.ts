/** Bugs planted in cli. */
import { inFile, type PlantedBug } from "./bugs.ts";

const beside = (name: string) => [`cli/${name}.test.ts`];

export const cliBugs: PlantedBug[] = [
  ...inFile("cli/descriptors.ts", beside("descriptors"), [
    [
      "- RESERVED_DESCRIPTORS - SPARE_CONNECTIONS;",
      "- RESERVED_DESCRIPTORS;",
      "connections that are refused have no descriptors",
    ],
    ["room >= (wanted ?? 1)", "room > (wanted ?? 1)", "a number that just fits is refused"],
    ["Math.min(MAX_CONNECTIONS, room)", "room", "connections by default are without bound"],
    ["return wanted ?? ", "return ", "a wanted number is not heard"],
    ["&& room > 0 ?", "?", "fewer than one connection is advised"],
    [
      'limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit)',
      "Number(limit)",
      "no limit on files is no number",
    ],
    ["(\\d+|unlimited)/m", "\\d+\\s+(\\d+|unlimited)/m", "the hard limit counts"],
    ["wanted + RESERVED_DESCRIPTORS + SPARE_CONNECTIONS", "wanted", "the limit that is advised is too low again"],
  ]),
  ...inFile("cli/readers.ts", beside("readers"), [
    ["if (outlived) return;", "", "a server ends when its log's reader leaves"],
    ['if (error.code === "EPIPE") process.exit();', "", "a reader that leaves makes an error"],
    ["outlived = true;", "", "a server does not outlive its readers"],
    ["      process.exit(1);", "", "an output that cannot be written is no failure"],
    [
      "if (stream === process.stdout) console.error",
      "if (false) console.error",
      "nobody is told that the output cannot be written",
    ],
    ["[process.stdout, process.stderr]", "[process.stderr]", "the reader of stdout is not looked at"],
  ]),
  ...inFile("cli/access-flags.ts", beside("access-flags"), [
    ["method.toUpperCase()", "method", "methods in small letters allow nothing"],
    ["return new URL(origin).origin;", "return origin;", "an origin with a slash matches no page"],
    ['origin === "*" || origin === "null"', 'origin === "*"', "the origin null is refused"],
    ["&& !/^https?:/i.test(origin)) return", ") return", "an origin with a path or a pattern passes for an app's"],
    ["return origin.toLowerCase();", "return origin;", "an app's origin in capitals matches no page"],
    ["allowedHosts: flags.allowedHosts ?? null", "allowedHosts: null", "--allowed-hosts is not heard"],
    ["allowCredentials: flags.allowCredentials ?? false", "allowCredentials: true", "cookies are allowed by default"],
  ]),
];
