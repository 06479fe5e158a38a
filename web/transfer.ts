/** Conversations as a file: what is exported, and what of a file is taken in. A file may come from anybody. */
import { MAX_IMPORT_BYTES, MAX_IMPORTED_CONVERSATIONS, MAX_IMPORTED_MESSAGES } from "../src/limits.ts";
import { newId } from "./tree.ts";
import { type Conversation, ENDS, type Message, NO_SETTINGS, ROLES, type Settings, type Timing } from "./types.ts";

const FORMAT = "fastgen-conversations";
const VERSION = 1;

export function toFile(conversations: Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1);
}

/**
 * The conversations of a file, each with a fresh id. Only known fields are taken, each of its type; messages that follow none of
 * the file's are left out.
 * @throws Error in words for the reader, where the file is none of ours
 */
export function fromFile(text: string): Conversation[] {
  if (text.length > MAX_IMPORT_BYTES) throw new Error(`The file is larger than ${MAX_IMPORT_BYTES / 2 ** 20} MiB.`);
  const file = object(parse(text));
  if (file.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("The file is not an export of this page: it has no conversations.");
  }
  if (file.version !== VERSION) throw new Error("The file was written by another version of this page.");
  if (file.conversations.length > MAX_IMPORTED_CONVERSATIONS) {
    throw new Error(`The file has more than ${MAX_IMPORTED_CONVERSATIONS} conversations.`);
  }
  return file.conversations.map(conversationFrom);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
}

type Fields = Record<string, unknown>;

const object = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const string = (value: unknown): string => (typeof value === "string" ? value : "");
const stringOrNull = (value: unknown): string | null => (typeof value === "string" ? value : null);
const number = (value: unknown): number =>
  typeof value === "number" && Number.isFinite(value) ? Math.max(0, value) : 0;
const numberOrNull = (value: unknown): number | null => (typeof value === "number" ? number(value) : null);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

function conversationFrom(value: unknown): Conversation {
  const { title, created, updated, settings, messages, leaf } = object(value);
  if (list(messages).length > MAX_IMPORTED_MESSAGES) {
    throw new Error(`A conversation of the file has more than ${MAX_IMPORTED_MESSAGES} messages.`);
  }
  // A message stands behind its parent in the list: so there are no circles.
  const ids = new Map<string, string>();
  const taken: Message[] = [];
  for (const one of list(messages)) {
    const message = messageFrom(object(one));
    const known = message.parent === null ? null : ids.get(message.parent);
    if (known === undefined || message.id === "" || ids.has(message.id)) continue;
    ids.set(message.id, newId());
    taken.push({ ...message, id: ids.get(message.id)!, parent: known });
  }
  return {
    id: newId(),
    title: string(title).slice(0, 200),
    created: number(created),
    updated: number(updated),
    settings: settingsFrom(object(settings)),
    messages: taken,
    leaf: ids.get(string(leaf)) ?? taken.at(-1)?.id ?? null,
  };
}

function messageFrom(fields: Fields): Message {
  const role = ROLES.find((known) => known === fields.role) ?? "user";
  const calls = list(fields.calls).map((call) => {
    const { id, name, arguments: written } = object(call);
    return { id: string(id), name: string(name), arguments: string(written) };
  });
  return {
    id: string(fields.id),
    parent: stringOrNull(fields.parent),
    role,
    content: string(fields.content),
    time: number(fields.time),
    reasoning: string(fields.reasoning),
    calls,
    call: stringOrNull(fields.call),
    model: stringOrNull(fields.model),
    end: ENDS.find((known) => known === fields.end) ?? (role === "assistant" ? "lost" : null),
    error: stringOrNull(fields.error),
    timing: fields.timing === null ? null : timingFrom(object(fields.timing)),
  };
}

function timingFrom({ first, total, thinking, tokens, prompt, pace }: Fields): Timing {
  return {
    first: numberOrNull(first),
    total: number(total),
    thinking: numberOrNull(thinking),
    tokens: number(tokens),
    prompt: number(prompt),
    pace: list(pace).slice(0, 100).map(number),
  };
}

/** Known settings, the rest at their defaults. */
export function settingsFrom(fields: Fields): Settings {
  const settings = { ...NO_SETTINGS };
  for (const key of Object.keys(settings) as (keyof Settings)[]) settings[key] = string(fields[key]);
  return settings;
}
