/** The protocol as bytes on a socket; test/kv-events.test.ts reads it with ZeroMQ itself. */
import { afterEach, expect, test } from "bun:test";
import * as net from "node:net";
import { MAX_KV_EVENT_FRAME_BYTES, MAX_KV_EVENT_SUBSCRIPTIONS, MAX_KV_EVENT_UNREAD_BYTES } from "../limits.ts";
import { freePort } from "../testing.ts";
import { type KvEvents, kvEventsOf } from "./config.ts";
import { KvEventPublisher } from "./publisher.ts";
import { KvEventPublishers } from "./publishers.ts";

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A publisher of rank 0 on ports of its own. */
async function publisherWith(overrides: Partial<KvEvents> = {}) {
  const port = freePort(2);
  const replayPort = port + 1;
  const events = kvEventsOf({ enable_kv_cache_events: true, topic: "kv@pod", endpoint: `tcp://*:${port}` })!;
  const publisher = await KvEventPublisher.open(
    { ...events, replay_endpoint: `tcp://127.0.0.1:${replayPort}`, ...overrides },
    0,
  );
  cleanUps.push(() => publisher.close());
  return { publisher, port, replayPort };
}

function greeting(mechanism = "NULL", major = 3): Buffer {
  const bytes = Buffer.alloc(64);
  bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, major, 1]);
  bytes.write(mechanism, 12);
  return bytes;
}

function frame(flags: number, body: Uint8Array | string): Buffer {
  const bytes = Buffer.from(body as string);
  if (bytes.length < 256) return Buffer.concat([Buffer.from([flags, bytes.length]), bytes]);
  const head = Buffer.alloc(9);
  head[0] = flags | 2;
  head.writeBigUInt64BE(BigInt(bytes.length), 1);
  return Buffer.concat([head, bytes]);
}

const ready = (type: string) =>
  frame(4, `\x05READY\x08Identity\0\0\0\0\x0bSocket-Type\0\0\0${String.fromCharCode(type.length)}${type}`);
const subscribe = (topic: string) => frame(4, `\x09SUBSCRIBE${topic}`);
const cancel = (topic: string) => frame(4, `\x06CANCEL${topic}`);
const number = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};
const askFrom = (value: number) => Buffer.concat([frame(1, ""), frame(0, number(value))]);

/** Frames in `bytes`, as [flags, body]. */
function framesIn(bytes: Buffer): [number, Buffer][] {
  const frames: [number, Buffer][] = [];
  for (let at = 0; at < bytes.length; ) {
    const isLong = (bytes[at]! & 2) !== 0;
    const length = isLong ? Number(bytes.readBigUInt64BE(at + 1)) : bytes[at + 1]!;
    const from = at + (isLong ? 9 : 2);
    frames.push([bytes[at]! & ~2, bytes.subarray(from, from + length)]);
    at = from + length;
  }
  return frames;
}

/** A peer that writes what it is told. `messages()`: those that have arrived whole, their frames as latin1. */
async function peer(port: number, ...bytes: Buffer[]) {
  const socket = net.connect(port, "127.0.0.1");
  cleanUps.push(() => socket.destroy());
  const chunks: Buffer[] = [];
  let bytesRead = 0;
  let closed = false;
  socket.on("data", (more: Buffer) => {
    chunks.push(more);
    bytesRead += more.length;
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    closed = true;
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(Buffer.concat(bytes));
  const frames = () => framesIn(Buffer.concat(chunks).subarray(64));
  const commands = () => frames().filter(([flags]) => flags & 4);
  const messages = () => {
    const all: string[][] = [];
    const parts: string[] = [];
    for (const [flags, body] of frames()) {
      if (flags & 4) continue;
      parts.push(body.toString("latin1"));
      if (!(flags & 1)) all.push(parts.splice(0));
    }
    return all;
  };
  return {
    socket,
    commands,
    messages,
    greeting: () => chunks[0]!.subarray(0, 64),
    bytesRead: () => bytesRead,
    closed: () => closed,
  };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it did not happen");
    await Bun.sleep(2);
  }
}

const text = (bytes: Buffer) => bytes.toString("latin1");

/** What was written to the publisher before has been understood once it answers this. */
async function settled(one: Awaited<ReturnType<typeof peer>>) {
  const answers = () => one.commands().filter(([, body]) => text(body) === "\x04PONGcontext").length;
  const before = answers();
  one.socket.write(frame(4, "\x04PING\0\0context"));
  await until(() => answers() > before);
}

test("a subscriber gets topic, number and batch, of topics that begin as it asked, until it cancels", async () => {
  const { publisher, port } = await publisherWith();
  const one = await peer(port, greeting(), ready("SUB"), subscribe("kv@"));
  const other = await peer(port, greeting(), ready("XSUB"), subscribe("other"));
  // ZMTP 3.0 subscribes by messages.
  const old = await peer(port, greeting(), ready("SUB"), frame(0, "\x01kv@pod"));
  for (const each of [one, other, old]) await settled(each);
  expect([...one.greeting().subarray(0, 12)]).toEqual([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1]);
  expect(text(one.commands()[0]![1])).toBe("\x05READY\x0bSocket-Type\0\0\0\x03PUB");
  const large = Buffer.alloc(300, 7);
  publisher.publish(Buffer.from("first"));
  publisher.publish(large);
  await until(() => one.messages().length === 2 && old.messages().length === 2);
  const wanted = [
    ["kv@pod", text(number(0)), "first"],
    ["kv@pod", text(number(1)), text(large)],
  ];
  expect([one.messages(), old.messages(), other.messages()]).toEqual([wanted, wanted, []]);
  one.socket.write(cancel("kv@"));
  await settled(one);
  publisher.publish(Buffer.from("third"));
  await until(() => old.messages().length === 3);
  await settled(one);
  expect(one.messages()).toHaveLength(2);
});

test("a topic may be long", async () => {
  const topic = "t".repeat(300);
  const { publisher, port } = await publisherWith({ topic });
  const one = await peer(port, greeting(), ready("SUB"), subscribe(topic));
  await settled(one);
  publisher.publish(Buffer.from("x"));
  await until(() => one.messages().length === 1);
  expect(one.messages()).toEqual([[topic, text(number(0)), "x"]]);
});

test("a topic that was asked for twice is cancelled twice", async () => {
  const { publisher, port } = await publisherWith();
  const one = await peer(port, greeting(), ready("SUB"), subscribe(""), subscribe(""), cancel(""));
  await settled(one);
  publisher.publish(Buffer.from("a"));
  await until(() => one.messages().length === 1);
  one.socket.write(cancel(""));
  await settled(one);
  publisher.publish(Buffer.from("b"));
  await settled(one);
  expect(one.messages()).toHaveLength(1);
});

test("batches that are kept are repeated from a number on, and then comes the end", async () => {
  const { publisher, replayPort } = await publisherWith({ buffer_steps: 3 });
  for (const name of ["a", "b", "c", "d", "e"]) publisher.publish(Buffer.from(name));
  const one = await peer(replayPort, greeting(), ready("DEALER"), askFrom(0), askFrom(4), askFrom(9));
  const end = ["", "\xff".repeat(8), ""];
  const repeated = (value: number, name: string) => ["", text(number(value)), name];
  await until(() => one.messages().length === 7);
  expect(one.messages()).toEqual([
    ...[repeated(2, "c"), repeated(3, "d"), repeated(4, "e"), end],
    ...[repeated(4, "e"), end],
    end,
  ]);
});

test("a subscriber that does not read misses batches, and nothing else happens", async () => {
  const { publisher, port } = await publisherWith({ hwm: 0 });
  const slow = await peer(port, greeting(), ready("SUB"), subscribe(""));
  const quick = await peer(port, greeting(), ready("SUB"), subscribe(""));
  await settled(slow);
  await settled(quick);
  slow.socket.pause();
  const batch = Buffer.alloc(1024 * 1024);
  for (let i = 0; i < 60; i++) {
    publisher.publish(batch);
    await until(() => quick.bytesRead() > (i + 1) * batch.length);
  }
  slow.socket.resume();
  await settled(slow);
  const numbers = slow.messages().map(([, bytes]) => Number(Buffer.from(bytes!, "latin1").readBigUInt64BE()));
  // What the kernel and the limit hold has come in order; the rest has not, for good.
  expect(numbers).toEqual(Array.from(numbers, (_, i) => i));
  expect(numbers.length).toBeGreaterThanOrEqual(MAX_KV_EVENT_UNREAD_BYTES / batch.length);
  expect(numbers.length).toBeLessThan(60);
});

test("no more messages wait for a subscriber than its mark", async () => {
  const { publisher, port } = await publisherWith({ hwm: 2 });
  const slow = await peer(port, greeting(), ready("SUB"), subscribe(""));
  await settled(slow);
  slow.socket.pause();
  // The first fills the kernel's buffers, so that the others wait.
  for (const size of [12_000_000, 1, 1, 1, 1]) publisher.publish(Buffer.alloc(size));
  slow.socket.resume();
  await settled(slow);
  expect(slow.messages().map((frames) => frames[2]!.length)).toEqual([12_000_000, 1]);
});

test.each([
  ["bytes of another protocol", [Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")]],
  ["an older version", [greeting("NULL", 1)]],
  ["another mechanism", [greeting("CURVE")]],
  ["a socket of the wrong type", [greeting(), ready("REQ")]],
  ["no type", [greeting(), frame(4, "\x05READY")]],
  ["properties that are cut off", [greeting(), frame(4, "\x05READY\x0bSocket-Type\0\0\0\x04SUB")]],
  ["a message before the handshake is over", [greeting(), frame(0, "\x01")]],
  ["a frame that is too long", [greeting(), ready("SUB"), frame(0, Buffer.alloc(MAX_KV_EVENT_FRAME_BYTES + 1))]],
  ["a frame of any length", [greeting(), ready("SUB"), Buffer.from([2, ...Array(8).fill(0xff)])]],
  ["a message without an end", [greeting(), ready("SUB"), ...Array(9).fill(frame(1, "x"))]],
  [
    "too many topics",
    [greeting(), ready("SUB"), ...Array.from({ length: MAX_KV_EVENT_SUBSCRIPTIONS + 1 }, (_, i) => subscribe(`${i}`))],
  ],
])("%s: the connection ends, and others go on", async (_, bytes) => {
  const { publisher, port } = await publisherWith();
  const good = await peer(port, greeting(), ready("SUB"), subscribe(""));
  await settled(good);
  const bad = await peer(port, ...bytes);
  await until(bad.closed);
  publisher.publish(Buffer.from("x"));
  await until(() => good.messages().length === 1);
});

test("each of several engines has ports of its own; all open, or none", async () => {
  const below = freePort(3);
  const port = below + 1;
  const events = kvEventsOf({ enable_kv_cache_events: true, endpoint: `tcp://*:${port}` })!;
  const publishers = await KvEventPublishers.open(events, 2);
  cleanUps.push(() => publishers.close());
  const peers = await Promise.all([0, 1].map((rank) => peer(port + rank, greeting(), ready("SUB"), subscribe(""))));
  for (const one of peers) await settled(one);
  publishers.publish(Buffer.from("of engine 1"), 1);
  publishers.publish(Buffer.from("of engine 0"), 0);
  await until(() => peers.every((one) => one.messages().length === 1));
  expect(peers.map((one) => one.messages()[0]![2])).toEqual(["of engine 0", "of engine 1"]);
  // The second port of these is the first one of those.
  const overlapping = { ...events, endpoint: `tcp://*:${below}` };
  await expect(KvEventPublishers.open(overlapping, 2)).rejects.toMatchObject({ kind: "invalid_request" });
  await (await KvEventPublishers.open(overlapping, 1)).close();
  await (await KvEventPublishers.open(null, 2)).close();
});

test("bytes may come one by one", async () => {
  const { publisher, port } = await publisherWith();
  const slow = await peer(port);
  for (const byte of Buffer.concat([greeting(), ready("SUB"), subscribe("")])) {
    slow.socket.write(Buffer.of(byte));
    await Bun.sleep(0);
  }
  await settled(slow);
  publisher.publish(Buffer.from("x"));
  await until(() => slow.messages().length === 1);
});

test("an endpoint of a host is connected to, and again once its peer has gone", async () => {
  const port = freePort();
  const { publisher } = await publisherWith({ endpoint: `tcp://127.0.0.1:${port}` });
  for (let round = 0; round < 2; round++) {
    let heard = 0;
    const server = net.createServer((socket) => {
      socket.write(Buffer.concat([greeting(), ready("SUB"), subscribe("")]));
      socket.on("data", (bytes: Buffer) => {
        heard += bytes.includes("batch") ? 1 : 0;
        if (heard) socket.destroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    await until(() => {
      publisher.publish(Buffer.from("batch"));
      return heard > 0;
    });
    await new Promise((resolve) => server.close(resolve));
  }
});

test("a port that is taken is refused by the name of its field, and nothing stays open", async () => {
  const { port } = await publisherWith();
  const free = freePort();
  const events = kvEventsOf({ enable_kv_cache_events: true, endpoint: `tcp://*:${free}` })!;
  const opening = KvEventPublisher.open({ ...events, replay_endpoint: `tcp://*:${port}` }, 0);
  await expect(opening).rejects.toMatchObject({
    kind: "invalid_request",
    param: "kv_events_config.replay_endpoint",
    message: expect.stringContaining("cannot be listened on"),
  });
  await (await KvEventPublisher.open(events, 0)).close();
});
