/** The newest messages, kept for peers that missed some: they ask for all from one number on. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { MAX_KV_EVENT_REPLAY_BYTES, MAX_KV_EVENT_REPLAYS } from "../limits.ts";
import { encodeMessage, type Listener, ZmtpConnection } from "./zmtp.ts";

const NOTHING = Buffer.alloc(0);
/** In place of a number: the replay is over. */
const END = Buffer.alloc(8, 0xff);

/** 8 bytes, the highest first. */
export function encodeNumber(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export class ReplayBuffer {
  /** By number, oldest first. */
  private readonly kept = new Map<number, Uint8Array>();
  private bytes = 0;

  /** Keeps the newest `most` messages, or fewer where they are large. */
  constructor(private readonly most: number) {}

  add(number: number, payload: Uint8Array): void {
    this.kept.set(number, payload);
    this.bytes += payload.length;
    for (const [oldest, { length }] of this.kept) {
      if (this.kept.size <= this.most && this.bytes <= MAX_KV_EVENT_REPLAY_BYTES) break;
      this.kept.delete(oldest);
      this.bytes -= length;
    }
  }

  /** The first number of at least `from` that is still there, with its payload. */
  next(from: number): [number, Uint8Array] | null {
    const first = this.kept.keys().next().value;
    if (first === undefined) return null;
    // There are no gaps: every number that was given was added.
    const number = Math.max(from, first);
    const payload = this.kept.get(number);
    return payload === undefined ? null : [number, payload];
  }
}

/** Answers one peer: two frames, the empty one and the number to begin at, are a request. */
export class ReplayPeer implements Listener {
  /** Replays that were asked for and are not over. */
  private pending = 0;
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly socket: Socket,
    private readonly buffer: ReplayBuffer,
  ) {
    new ZmtpConnection(socket, "ROUTER", this);
  }

  ready(): void {}

  subscription(): void {}

  message(frames: Buffer[]): void {
    const [delimiter, from] = frames;
    if (frames.length !== 2 || delimiter!.length !== 0 || from!.length !== 8) return;
    if (++this.pending > MAX_KV_EVENT_REPLAYS) {
      this.socket.destroy();
      return;
    }
    const first = Number(from!.readBigUInt64BE());
    this.last = this.last.then(() => this.replay(first)).finally(() => this.pending--);
  }

  /** Sends no faster than the peer reads. What is published meanwhile is part of it. */
  private async replay(first: number): Promise<void> {
    for (let entry = this.buffer.next(first); entry; entry = this.buffer.next(entry[0] + 1)) {
      if (!(await this.send([NOTHING, encodeNumber(entry[0]), entry[1]]))) return;
    }
    await this.send([NOTHING, END, NOTHING]);
  }

  /** False once the peer has gone. */
  private async send(frames: Uint8Array[]): Promise<boolean> {
    const { socket } = this;
    if (socket.destroyed) return false;
    if (socket.write(encodeMessage(frames))) return true;
    const gone = new AbortController();
    const onClose = () => gone.abort();
    socket.once("close", onClose);
    await once(socket, "drain", { signal: gone.signal }).catch(() => {});
    socket.off("close", onClose);
    return !socket.destroyed;
  }
}
