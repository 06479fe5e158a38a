import { expect, test } from "bun:test";
import { eventData } from "./sse.ts";

const collect = (pieces: Uint8Array<ArrayBuffer>[]) => {
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });
  return Array.fromAsync(eventData(body));
};

test("events come whole, however their bytes are cut", async () => {
  const text =
    'data: {"a": "ä👋"}\n\n: a comment\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\ndata: [DONE]\n\ndata: never ended';
  const bytes = new TextEncoder().encode(text);
  const expected = ['{"a": "ä👋"}', "two\nlines", "[DONE]"];
  expect(await collect([bytes])).toEqual(expected);
  expect(await collect(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(expected);
});
