import { expect, test } from "bun:test";
import { MessageChannel } from "node:worker_threads";
import { afterNews } from "./after-news.ts";

test("who waits goes on after all messages that were there, once each, in order", async () => {
  const { port1, port2 } = new MessageChannel();
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  port2.on("message", (n: number) => {
    order.push(`message ${n}`);
    if (n === 0) afterNews([() => order.push("first"), () => order.push("second")]);
    if (n === 1)
      afterNews([
        () => {
          order.push("third");
          // Whoever comes meanwhile waits for what is there then.
          afterNews([resolve]);
        },
      ]);
  });
  for (let n = 0; n < 4; n++) port1.postMessage(n);
  await promise;
  expect(order).toEqual(["message 0", "message 1", "message 2", "message 3", "first", "second", "third"]);
  // And again, each only once.
  await new Promise<void>((resolve) => afterNews([resolve]));
  expect(order).toHaveLength(7);
  port1.close();
});
