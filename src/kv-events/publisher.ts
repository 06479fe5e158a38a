/**
 * KV events over ZeroMQ, as vLLM publishes them: a message is the topic, its number and a batch of events. Numbers have no gaps,
 * so a peer that sees one has missed something, and asks the replay endpoint for it.
 */
import type { KvEvents } from "./config.ts";
import { encodeNumber, ReplayBuffer, ReplayPeer } from "./replay.ts";
import { connectTo, type Endpoint, listenOn, parseEndpoint } from "./sockets.ts";
import { Subscribers } from "./subscribers.ts";
import { encodeMessage } from "./zmtp.ts";

export class KvEventPublisher {
  private next = 0;
  private readonly topic: Buffer;
  private readonly subscribers: Subscribers;
  private readonly buffer: ReplayBuffer;
  private readonly endpoints: Endpoint[] = [];

  private constructor({ topic, hwm, buffer_steps }: KvEvents) {
    this.topic = Buffer.from(topic);
    this.subscribers = new Subscribers(hwm);
    this.buffer = new ReplayBuffer(buffer_steps);
  }

  /**
   * Opens the endpoints of engine `rank`, whose ports are higher by that. An endpoint with "*" or "::" is listened on, another one
   * connected to, as in vLLM.
   * @throws FastgenError "invalid_request" that names the endpoint which cannot be used.
   */
  static async open(events: KvEvents, rank: number): Promise<KvEventPublisher> {
    const publisher = new KvEventPublisher(events);
    const { subscribers, buffer, endpoints } = publisher;
    const field = "kv_events_config.endpoint";
    const address = parseEndpoint(events.endpoint, field, rank);
    const subscribe = subscribers.add.bind(subscribers);
    const binds = address.host === null || address.host.includes("::");
    endpoints.push(binds ? await listenOn(address, field, subscribe) : connectTo(address, subscribe));
    try {
      if (typeof events.replay_endpoint === "string") {
        const replayField = "kv_events_config.replay_endpoint";
        const replay = parseEndpoint(events.replay_endpoint, replayField, rank);
        endpoints.push(await listenOn(replay, replayField, (socket) => void new ReplayPeer(socket, buffer)));
      }
    } catch (error) {
      await publisher.close();
      throw error;
    }
    return publisher;
  }

  /** Publishes a batch as src/engine/pages/kv-events.ts encodes it. Never waits. */
  publish(batch: Uint8Array): void {
    const number = this.next++;
    this.buffer.add(number, batch);
    this.subscribers.send(this.topic, encodeMessage([this.topic, encodeNumber(number), batch]));
  }

  /** Closes everything; what the kernel has not taken is still sent to peers that read. */
  async close(): Promise<void> {
    await Promise.all(this.endpoints.map((endpoint) => endpoint.close()));
  }
}
