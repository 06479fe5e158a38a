/** The peers that hear KV events: each of them the topics that it asked for, while it keeps up. */
import type { Socket } from "node:net";
import { MAX_KV_EVENT_SUBSCRIPTIONS, MAX_KV_EVENT_UNREAD_BYTES } from "../limits.ts";
import { type Listener, ZmtpConnection } from "./zmtp.ts";

export class Subscribers {
  private readonly all = new Set<Subscriber>();

  /** `highWaterMark`: messages that may wait for one of them; 0 = as many as fit into the limit of bytes. */
  constructor(private readonly highWaterMark: number) {}

  add(socket: Socket): void {
    const subscriber = new Subscriber(socket, this.highWaterMark || Number.POSITIVE_INFINITY);
    this.all.add(subscriber);
    socket.once("close", () => this.all.delete(subscriber));
  }

  /** Sends a message, as it lies on the wire, to those who want its topic. */
  send(topic: Buffer, message: Buffer): void {
    for (const subscriber of this.all) subscriber.send(topic, message);
  }
}

class Subscriber implements Listener {
  /** How often it asked for each beginning of a topic, by its bytes as latin1. */
  private readonly topics = new Map<string, number>();
  /** Messages that the kernel has not taken yet. */
  private waiting = 0;

  constructor(
    private readonly socket: Socket,
    private readonly highWaterMark: number,
  ) {
    new ZmtpConnection(socket, "PUB", this);
  }

  /** A peer that does not keep up misses messages, and sees by their numbers which. */
  send(topic: Buffer, message: Buffer): void {
    const { socket } = this;
    const name = topic.toString("latin1");
    if (![...this.topics.keys()].some((wanted) => name.startsWith(wanted))) return;
    if (this.waiting >= this.highWaterMark || socket.writableLength > MAX_KV_EVENT_UNREAD_BYTES) return;
    this.waiting++;
    socket.write(message, () => {
      this.waiting--;
    });
  }

  ready(): void {}

  message(): void {}

  subscription(topic: Buffer, wanted: boolean): void {
    const name = topic.toString("latin1");
    const count = (this.topics.get(name) ?? 0) + (wanted ? 1 : -1);
    if (count > 0) this.topics.set(name, count);
    else this.topics.delete(name);
    if (this.topics.size > MAX_KV_EVENT_SUBSCRIPTIONS) this.socket.destroy();
  }
}
