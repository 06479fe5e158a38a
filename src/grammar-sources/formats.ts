/** JSON Schema's `format`, as what a string must look like. Each is at least as strict as validators are. */

const DAYS = [
  "[0-9]{4}-(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
  "[0-9]{4}-(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
  "[0-9]{4}-02-(?:0[1-9]|1[0-9]|2[0-8])",
  // Leap years.
  "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29",
];
const DATE = `(?:${DAYS.join("|")})`;
/** Without leap seconds, which are valid at one minute of the day alone. */
const TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";

const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const MAILBOX = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
const EMAIL = `${MAILBOX}(?:\\.${MAILBOX})*@(?:${LABEL}\\.)+${LABEL}`;
/** Without two hyphens in a row: labels that have them stand for other alphabets, under rules of their own. */
const HOST_LABEL = "[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,31}";
const HOSTNAME = `${HOST_LABEL}(?:\\.${HOST_LABEL}){0,31}`;

const OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV4 = `(?:${OCTET}\\.){3}${OCTET}`;

const uuid = (version: string) =>
  `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-${version}[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}`;
const POINTER = "(?:/(?:[^~/]|~[01])*)*";
const BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?";

/** By format: a regular expression of llguidance's dialect that the whole string must match. */
const PATTERNS: Record<string, string> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}[tT]${TIME}`,
  email: EMAIL,
  "idn-email": EMAIL,
  hostname: HOSTNAME,
  "idn-hostname": HOSTNAME,
  ipv4: IPV4,
  "json-pointer": POINTER,
  "relative-json-pointer": `(?:0|[1-9][0-9]*)(?:#|${POINTER})`,
  byte: BASE64,
  base64: BASE64,
  base64url: "[A-Za-z0-9_-]*",
  uuid: "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
  ...Object.fromEntries([..."12345678"].map((version) => [`uuid${version}`, uuid(version)])),
};

/** Formats that bound the length too. */
const LENGTHS: Record<string, number> = { hostname: 253, "idn-hostname": 253 };

/** Formats that llguidance has itself. */
const NATIVE: Record<string, string> = { duration: "duration", ipv6: "ipv6", uri: "uri", iri: "uri" };

/** Older names, and those of other libraries' validators. */
const ALIASES: Record<string, string> = {
  url: "uri",
  "host-name": "hostname",
  "ip-address": "ipv4",
  "iso-time": "time",
  "iso-date-time": "date-time",
};

/** Formats of JSON Schema that no grammar here holds. */
const UNSUPPORTED = new Set(["uri-reference", "iri-reference", "uri-template", "regex"]);

/**
 * The keywords that stand for a format; null = it is not supported. A format that JSON Schema does not name says what a string is
 * for, and bounds nothing: validators must ignore it (2020-12, section 7.2.3 of the validation vocabulary).
 */
export function formatKeywords(name: string): Record<string, unknown> | null {
  const format = Object.hasOwn(ALIASES, name) ? ALIASES[name]! : name;
  if (Object.hasOwn(NATIVE, format)) return { format: NATIVE[format] };
  if (Object.hasOwn(PATTERNS, format)) {
    const maxLength = LENGTHS[format];
    return { pattern: `^(?:${PATTERNS[format]})$`, ...(maxLength && { maxLength }) };
  }
  return UNSUPPORTED.has(format) ? null : {};
}

/** The patterns of libraries' own types that look around, written without. */
export const KNOWN_PATTERNS = new Map<string, string>([
  // zod's email
  [
    "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
    "^(?:[A-Za-z0-9_'+-]+\\.)*[A-Za-z0-9_'+-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9-]*\\.)+[A-Za-z]{2,}$",
  ],
  // zod's duration
  [
    "^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$",
    "^P(?:[0-9]+W|[0-9]+Y(?:[0-9]+M)?(?:[0-9]+D)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D|(?:[0-9]+Y)?(?:[0-9]+M)?(?:[0-9]+D)?T(?:[0-9]+H(?:[0-9]+M)?(?:[0-9]+(?:[.,][0-9]+)?S)?|[0-9]+M(?:[0-9]+(?:[.,][0-9]+)?S)?|[0-9]+(?:[.,][0-9]+)?S))$",
  ],
]);
