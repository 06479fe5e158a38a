/** Dates as text. */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
// biome-ignore format: one line
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

type Field = [value: number, width: number, fill?: string];

/** Numbers, with the width and the fill that they have without a flag. */
function numberField(date: Date, letter: string): Field | null {
  const [hours, weekday] = [date.getHours(), date.getDay()];
  const day = dayOfYear(date);
  const hour12 = hours % 12 || 12;
  const fields: Record<string, Field> = {
    Y: [date.getFullYear(), 1],
    C: [Math.floor(date.getFullYear() / 100), 2],
    y: [date.getFullYear() % 100, 2],
    G: [isoWeek(date).year, 1],
    g: [isoWeek(date).year % 100, 2],
    m: [date.getMonth() + 1, 2],
    d: [date.getDate(), 2],
    e: [date.getDate(), 2, " "],
    j: [day, 3],
    U: [Math.floor((day + 6 - weekday) / 7), 2],
    W: [Math.floor((day + 6 - ((weekday + 6) % 7)) / 7), 2],
    V: [isoWeek(date).week, 2],
    u: [weekday || 7, 1],
    w: [weekday, 1],
    H: [hours, 2],
    k: [hours, 2, " "],
    I: [hour12, 2],
    l: [hour12, 2, " "],
    M: [date.getMinutes(), 2],
    S: [date.getSeconds(), 2],
    s: [Math.floor(date.getTime() / 1000), 1],
    f: [date.getMilliseconds() * 1000, 6],
  };
  return fields[letter] ?? null;
}

/** 1 to 366. Counted in UTC, where every day has 24 hours. */
function dayOfYear(date: Date): number {
  const start = Date.UTC(date.getFullYear(), 0, 1);
  return (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - start) / 86_400_000 + 1;
}

function isoWeek(date: Date): { year: number; week: number } {
  // The week belongs to the year of its Thursday.
  const thursday = new Date(date.getFullYear(), date.getMonth(), date.getDate() + 4 - (date.getDay() || 7));
  return { year: thursday.getFullYear(), week: Math.ceil(dayOfYear(thursday) / 7) };
}

/** Formats that are made of others. */
const COMPOSED: Record<string, string> = {
  c: "%a %b %e %H:%M:%S %Y",
  D: "%m/%d/%y",
  F: "%Y-%m-%d",
  R: "%H:%M",
  r: "%I:%M:%S %p",
  T: "%H:%M:%S",
  X: "%H:%M:%S",
  x: "%m/%d/%y",
};

function textField(date: Date, letter: string): string | null {
  const fields: Record<string, string> = {
    B: MONTHS[date.getMonth()]!,
    b: MONTHS[date.getMonth()]!.slice(0, 3),
    h: MONTHS[date.getMonth()]!.slice(0, 3),
    A: DAYS[date.getDay()]!,
    a: DAYS[date.getDay()]!.slice(0, 3),
    p: date.getHours() < 12 ? "AM" : "PM",
    P: date.getHours() < 12 ? "am" : "pm",
    n: "\n",
    t: "\t",
    // A naive date has no zone.
    z: "",
    Z: "",
    "%": "%",
  };
  return fields[letter] ?? null;
}

/**
 * Python's strftime in the C locale, local time, as glibc does it: %-d has no padding, %_d spaces, %0e zeros, %^a capitals.
 * Formats that it does not know stay as they are.
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^]?)([A-Za-z%])/g, (whole, flag: string, letter: string) => {
    const composed = COMPOSED[letter];
    const number = numberField(date, letter);
    const text = composed === undefined ? textField(date, letter) : strftime(date, composed);
    if (number === null) return text === null ? whole : flag === "^" ? text.toUpperCase() : text;
    const [value, width, fill = "0"] = number;
    if (flag === "-") return String(value);
    return String(value).padStart(width, flag === "_" ? " " : flag === "0" ? "0" : fill);
  });
}
