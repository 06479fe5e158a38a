/** The KV events of several engines: each has a publisher of its own, with ports of its own. */
import type { KvEvents } from "./config.ts";
import { KvEventPublisher } from "./publisher.ts";

export class KvEventPublishers {
  private constructor(private readonly publishers: readonly KvEventPublisher[]) {}

  /**
   * Opens all or none. `events` null = nothing is published.
   * @throws FastgenError "invalid_request" that names the endpoint which cannot be used.
   */
  static async open(events: KvEvents | null, engines: number): Promise<KvEventPublishers> {
    const publishers: KvEventPublisher[] = [];
    try {
      for (let rank = 0; events && rank < engines; rank++) publishers.push(await KvEventPublisher.open(events, rank));
    } catch (error) {
      await new KvEventPublishers(publishers).close();
      throw error;
    }
    return new KvEventPublishers(publishers);
  }

  /** Publishes a batch of engine `rank`. Never waits. */
  publish(batch: Uint8Array, rank: number): void {
    this.publishers[rank]!.publish(batch);
  }

  async close(): Promise<void> {
    await Promise.all(this.publishers.map((publisher) => publisher.close()));
  }
}
