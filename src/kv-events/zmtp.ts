/**
 * One connection of ZeroMQ's protocol, ZMTP 3.1, as far as a publisher needs it: the NULL mechanism, messages of several frames in
 * both directions, subscriptions and pings. Bytes that are no such protocol, and messages beyond the limits, end the connection.
 */
import type { Socket } from "node:net";
import { KV_EVENT_HANDSHAKE_SECONDS, MAX_KV_EVENT_FRAME_BYTES } from "../limits.ts";

/** Bits of a frame's first byte. */
const MORE = 1;
const LONG = 2;
const COMMAND = 4;

const GREETING_BYTES = 64;
/** Where the greeting has the mechanism's name, and how long it may be. */
const MECHANISM = { at: 12, bytes: 20 };
/** Frames of a message that a peer sends: a replay is asked for in two. */
const MAX_FRAMES = 8;

/** The types of sockets that may talk to ours. */
const PEERS = { PUB: ["SUB", "XSUB"], ROUTER: ["REQ", "DEALER", "ROUTER"] } as const;
export type SocketType = keyof typeof PEERS;

export interface Listener {
  /** The handshake is over: messages may be sent. */
  ready(): void;
  /** [frames] */
  message(frames: Buffer[]): void;
  /** A peer asks for the topics that begin with `topic`, or no longer does. */
  subscription(topic: Buffer, wanted: boolean): void;
}

/** The bytes of a message on the wire. */
export function encodeMessage(frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat(frames.flatMap((body, i) => encodeFrame(i + 1 < frames.length ? MORE : 0, body)));
}

function encodeFrame(flags: number, body: Uint8Array): Uint8Array[] {
  if (body.length < 256) return [Uint8Array.of(flags, body.length), body];
  const head = Buffer.alloc(9);
  head[0] = flags | LONG;
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return [head, body];
}

/** A command is its name, behind the name's length, and what the name says must follow. */
function encodeCommand(name: string, data: Uint8Array): Buffer {
  return Buffer.concat(
    encodeFrame(COMMAND, Buffer.concat([Uint8Array.of(name.length), Buffer.from(name, "latin1"), data])),
  );
}

function greeting(): Buffer {
  const bytes = Buffer.alloc(GREETING_BYTES);
  bytes[0] = 0xff;
  bytes[9] = 0x7f;
  bytes[10] = 3;
  bytes[11] = 1;
  bytes.write("NULL", MECHANISM.at, "latin1");
  return bytes;
}

/** A property of a READY command: its name behind one byte of length, its value behind four. */
function property(name: string, value: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([Uint8Array.of(name.length), Buffer.from(name, "latin1"), length, Buffer.from(value, "latin1")]);
}

/** Properties by their names, which may be written in any case. Null where they are cut off. */
function properties(bytes: Buffer): Map<string, string> | null {
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const nameEnd = at + 1 + bytes[at]!;
    if (nameEnd + 4 > bytes.length) return null;
    const end = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    if (end > bytes.length) return null;
    found.set(bytes.toString("latin1", at + 1, nameEnd).toLowerCase(), bytes.toString("latin1", nameEnd + 4, end));
    at = end;
  }
  return found;
}

export class ZmtpConnection {
  /** What has arrived and is not understood yet. */
  private received: Buffer = Buffer.alloc(0);
  private state: "greeting" | "ready" | "open" = "greeting";
  /** Of a message whose last frame is yet to come. */
  private frames: Buffer[] = [];
  private readonly handshake: NodeJS.Timeout;

  constructor(
    readonly socket: Socket,
    private readonly type: SocketType,
    private readonly listener: Listener,
  ) {
    this.handshake = setTimeout(() => socket.destroy(), KV_EVENT_HANDSHAKE_SECONDS * 1000).unref();
    socket.on("close", () => clearTimeout(this.handshake));
    socket.on("data", (bytes: Buffer) => this.receive(bytes));
    socket.write(greeting());
  }

  private receive(bytes: Buffer): void {
    this.received = this.received.length === 0 ? bytes : Buffer.concat([this.received, bytes]);
    while (!this.socket.destroyed && (this.state === "greeting" ? this.takeGreeting() : this.takeFrame()));
  }

  /** True when there may be more to take, as below. */
  private takeGreeting(): boolean {
    const { received } = this;
    // A peer of an older protocol sends less, and waits.
    const isZmtp = received.length < 11 || (received[0] === 0xff && (received[9]! & 1) === 1 && received[10]! >= 3);
    if (!isZmtp) return this.fail();
    if (received.length < GREETING_BYTES) return false;
    const mechanism = received.toString("latin1", MECHANISM.at, MECHANISM.at + MECHANISM.bytes);
    if (mechanism.replace(/\0+$/, "") !== "NULL") return this.fail();
    this.received = received.subarray(GREETING_BYTES);
    this.state = "ready";
    this.socket.write(encodeCommand("READY", property("Socket-Type", this.type)));
    return true;
  }

  private takeFrame(): boolean {
    const { received } = this;
    const flags = received[0];
    if (flags === undefined) return false;
    const head = flags & LONG ? 9 : 2;
    if (received.length < head) return false;
    const length = flags & LONG ? Number(received.readBigUInt64BE(1)) : received[1]!;
    if (length > MAX_KV_EVENT_FRAME_BYTES) return this.fail();
    if (received.length < head + length) return false;
    const body = received.subarray(head, head + length);
    this.received = received.subarray(head + length);
    if (flags & COMMAND) return this.takeCommand(body);
    return this.state === "open" ? this.takeMessage(body, (flags & MORE) !== 0) : this.fail();
  }

  private takeCommand(body: Buffer): boolean {
    const end = 1 + (body[0] ?? 0);
    const name = body.toString("latin1", 1, end);
    const data = body.subarray(end);
    if (this.state === "ready") return name === "READY" ? this.open(data) : this.fail();
    if (name === "SUBSCRIBE" || name === "CANCEL") this.listener.subscription(data, name === "SUBSCRIBE");
    // Behind two bytes of time to live comes what the answer repeats. Other commands are not for us.
    else if (name === "PING") this.socket.write(encodeCommand("PONG", data.subarray(2, 18)));
    return true;
  }

  private open(data: Buffer): boolean {
    const type = properties(data)?.get("socket-type") ?? "";
    if (!(PEERS[this.type] as readonly string[]).includes(type)) return this.fail();
    clearTimeout(this.handshake);
    this.state = "open";
    this.listener.ready();
    return true;
  }

  private takeMessage(body: Buffer, more: boolean): boolean {
    this.frames.push(body);
    if (this.frames.length > MAX_FRAMES) return this.fail();
    if (more) return true;
    const frames = this.frames;
    this.frames = [];
    // ZMTP 3.0 writes a subscription as a message.
    const first = frames[0]!;
    if (this.type === "PUB" && first.length > 0 && first[0]! <= 1) {
      this.listener.subscription(first.subarray(1), first[0] === 1);
    } else this.listener.message(frames);
    return true;
  }

  private fail(): false {
    this.socket.destroy();
    return false;
  }
}
