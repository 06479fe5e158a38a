/**
 * What the page cache tells, as vLLM's KV events: maps with vLLM's field names, in msgpack. Events of one step make a batch. Runs of
 * pages that follow each other, and pages that go together, are one event each.
 */
import { Encoder } from "@msgpack/msgpack";
import { type Medium, PAGE_TOKENS, type PageListener, type PageNode } from "./page-cache.ts";

interface BlockStored {
  type: "BlockStored";
  block_hashes: bigint[];
  parent_block_hash: bigint | null;
  /** Of all blocks. */
  token_ids: number[];
  block_size: number;
  lora_id: null;
  medium: Medium;
  lora_name: null;
  /** By block: what its hash depends on beside tokens and parent. */
  extra_keys: (string[] | null)[];
  group_idx: 0;
}

interface BlockRemoved {
  type: "BlockRemoved";
  block_hashes: bigint[];
  medium: Medium;
  group_idx: 0;
}

type KvEvent = BlockStored | BlockRemoved | { type: "AllBlocksCleared" };

export class KvEventLog implements PageListener {
  private events: KvEvent[] = [];
  private readonly encoder = new Encoder({ useBigInt64: true });

  /** `rank`: the number of this engine among several. `now` gives seconds since 1970. */
  constructor(
    private readonly rank: number,
    private readonly now = () => (performance.timeOrigin + performance.now()) / 1000,
  ) {}

  stored({ parent, key, tokens, salt }: PageNode, medium: Medium): void {
    const isFirst = !parent?.parent;
    const parentHash = isFirst ? null : parent.key;
    const extraKeys = isFirst && salt ? [salt] : null;
    const last = this.events.at(-1);
    const follows = last?.type === "BlockStored" && last.medium === medium && last.block_hashes.at(-1) === parentHash;
    if (follows) {
      last.block_hashes.push(key);
      for (const token of tokens) last.token_ids.push(token);
      last.extra_keys.push(extraKeys);
      return;
    }
    this.events.push({
      type: "BlockStored",
      block_hashes: [key],
      parent_block_hash: parentHash,
      token_ids: [...tokens],
      block_size: PAGE_TOKENS,
      lora_id: null,
      medium,
      lora_name: null,
      extra_keys: [extraKeys],
      group_idx: 0,
    });
  }

  removed({ key }: Pick<PageNode, "key">, medium: Medium): void {
    const last = this.events.at(-1);
    if (last?.type === "BlockRemoved" && last.medium === medium) last.block_hashes.push(key);
    else this.events.push({ type: "BlockRemoved", block_hashes: [key], medium, group_idx: 0 });
  }

  cleared(): void {
    this.events.push({ type: "AllBlocksCleared" });
  }

  /** The batch of what was told since the last call: the time, the events, the rank. Null when there was nothing. */
  take(): Uint8Array | null {
    if (this.events.length === 0) return null;
    const batch = this.encoder.encode([this.now(), this.events, this.rank]);
    this.events = [];
    return batch;
  }
}
