import { expect, test } from "bun:test";
import { append, branchesOf, newConversation, pathOf, remove, show, titleOf } from "./tree.ts";

test("a conversation is a tree: branches, the path that is shown, and what goes with a message", () => {
  const conversation = newConversation();
  const texts = () => pathOf(conversation).map(({ content }) => content);
  const first = append(conversation, null, { role: "user", content: "first" });
  const one = append(conversation, first.id, { role: "assistant", content: "one" });
  append(conversation, one.id, { role: "user", content: "more" });
  const two = append(conversation, first.id, { role: "assistant", content: "two" });
  expect(texts()).toEqual(["first", "two"]);
  expect(branchesOf(conversation, two).map(({ content }) => content)).toEqual(["one", "two"]);
  show(conversation, one);
  expect(texts()).toEqual(["first", "one", "more"]);
  const second = append(conversation, null, { role: "user", content: "second" });
  expect(branchesOf(conversation, second)).toEqual([first, second]);
  remove(conversation, first);
  expect(conversation.messages).toEqual([second]);
  expect(texts()).toEqual(["second"]);
  remove(conversation, second);
  expect([texts(), conversation.leaf]).toEqual([[], null]);
});

test("a title is the first message's beginning, and never cuts a character", () => {
  const conversation = newConversation();
  append(conversation, null, { role: "user", content: "  Hello\n\n there " });
  expect(conversation.title).toBe("Hello there");
  append(conversation, conversation.leaf, { role: "user", content: "Other" });
  expect(conversation.title).toBe("Hello there");
  expect(titleOf("👋".repeat(80))).toBe(`${"👋".repeat(59)}…`);
});
