/** Conversations as trees: every edit and every new answer is a branch, and one branch is shown. */
import { type Conversation, type Message, NO_SETTINGS, type Settings } from "./types.ts";

/** Characters of a title that is made of the first message. */
const TITLE_LENGTH = 60;

export const newId = (): string => crypto.randomUUID();

export function newConversation(settings: Settings = NO_SETTINGS): Conversation {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, settings: { ...settings }, messages: [], leaf: null };
}

/** The messages that are shown: from the first one to the leaf. */
export function pathOf({ messages, leaf }: Conversation): Message[] {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const path: Message[] = [];
  for (let at = leaf && byId.get(leaf); at; at = at.parent === null ? undefined : byId.get(at.parent)) path.push(at);
  return path.reverse();
}

/** The branches that begin where `message` does, itself among them, from the oldest to the newest. */
export function branchesOf({ messages }: Conversation, { parent, role }: Message): Message[] {
  return messages.filter((other) => other.parent === parent && (other.role === role || role !== "tool"));
}

/** Adds a message behind `parent` and shows it. */
export function append(
  conversation: Conversation,
  parent: string | null,
  fields: Pick<Message, "role" | "content"> & Partial<Message>,
): Message {
  const message: Message = {
    id: newId(),
    parent,
    time: Date.now(),
    reasoning: "",
    calls: [],
    call: null,
    model: null,
    end: null,
    error: null,
    timing: null,
    ...fields,
  };
  conversation.messages.push(message);
  conversation.leaf = message.id;
  conversation.updated = message.time;
  if (conversation.title === "" && message.role === "user") conversation.title = titleOf(message.content);
  return message;
}

/** Shows the branch that begins with `message`, down to its newest end. */
export function show(conversation: Conversation, message: Message): void {
  let last = message;
  for (;;) {
    const next = conversation.messages.findLast(({ parent }) => parent === last.id);
    if (!next) break;
    last = next;
  }
  conversation.leaf = last.id;
}

/** Removes a message and all that follows it, and shows the branch beside it or what it followed. */
export function remove(conversation: Conversation, message: Message): void {
  const gone = new Set([message.id]);
  // A message stands behind its parent in the list.
  for (const { id, parent } of conversation.messages) if (parent !== null && gone.has(parent)) gone.add(id);
  conversation.messages = conversation.messages.filter(({ id }) => !gone.has(id));
  const beside = branchesOf(conversation, message).at(-1);
  if (beside) show(conversation, beside);
  else conversation.leaf = message.parent;
  conversation.updated = Date.now();
}

export function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  const characters = Array.from(line);
  return characters.length > TITLE_LENGTH
    ? `${characters
        .slice(0, TITLE_LENGTH - 1)
        .join("")
        .trimEnd()}…`
    : line;
}
