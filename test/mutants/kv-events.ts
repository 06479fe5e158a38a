/** Bugs planted in what is told of cached pages, and in how it is published. */
import { inFile, type PlantedBug } from "./bugs.ts";

const FOLLOWED = ["src/engine/pages/kv-events.test.ts"];
const PUBLISHED = ["src/kv-events/publisher.test.ts"];
const CONFIG = ["src/kv-events/config.test.ts"];

export const kvEventBugs: PlantedBug[] = [
  ...inFile("src/engine/pages/page-cache.ts", FOLLOWED, [
    [
      '    this.show(parent);\n    this.tellStored(node, "GPU");',
      "    this.show(parent);",
      "nobody hears that a page is on the device",
    ],
    [
      'this.counts.saved++;\n    this.tellStored(node, "CPU");',
      "this.counts.saved++;",
      "nobody hears that a page went to the host",
    ],
    ["return node.salt !== null && this.index", "return this.index", "pages of one sequence alone are told"],
    ["this.index.clear();\n", "", "a cleared cache tells of every page"],
    ["listener?.cleared();", "", "nobody hears that the cache was cleared"],
    ['this.tellRemoved(node, "CPU");', "", "nobody hears that a page is forgotten on the host"],
  ]),
  ...inFile("src/engine/pages/kv-events.ts", FOLLOWED, [
    [
      "last.medium === medium && last.block_hashes",
      "last.block_hashes",
      "a page of the host joins an event of the device",
    ],
    ["last.block_hashes.at(-1) === parentHash", "true", "pages that do not follow each other are told as a chain"],
    ["isFirst && salt ? [salt] : null", "salt ? [salt] : null", "the salt is a key of every page"],
    ["isFirst ? null : parent.key", "parent!.key", "the first page has a parent"],
    ["    this.events = [];\n", "", "events are told twice"],
  ]),
  ...inFile("src/kv-events/zmtp.ts", PUBLISHED, [
    ["if (length > MAX_KV_EVENT_FRAME_BYTES) return this.fail();", "", "frames have no bound"],
    ["if (this.frames.length > MAX_FRAMES) return this.fail();", "", "messages have no bound"],
    ["this.listener.subscription(first.subarray(1), first[0] === 1);", "", "ZMTP 3.0 cannot subscribe"],
    ["data.subarray(2, 18)", "data", "an answer to a ping repeats its time to live"],
    ["(PEERS[this.type] as readonly string[]).includes(type)", "true", "any socket may connect"],
    ["head[0] = flags | LONG;", "head[0] = LONG;", "a long frame is the last of its message"],
    ["if (end > bytes.length) return null;", "", "properties that are cut off are taken"],
  ]),
  ...inFile("src/kv-events/subscribers.ts", PUBLISHED, [
    ["this.waiting >= this.highWaterMark || ", "", "the mark is not heeded"],
    [" || socket.writableLength > MAX_KV_EVENT_UNREAD_BYTES", "", "what waits for a peer has no bound"],
    ["name.startsWith(wanted)", "name === wanted", "only whole topics are heard"],
    ["if (count > 0) this.topics", "if (wanted) this.topics", "one cancellation ends every subscription"],
    ["if (this.topics.size > MAX_KV_EVENT_SUBSCRIPTIONS) this.socket.destroy();", "", "topics have no bound"],
  ]),
  ...inFile("src/kv-events/replay.ts", PUBLISHED, [
    ["Math.max(from, first)", "from", "who asks for too much gets nothing"],
    ["this.kept.size <= this.most && ", "", "more batches are kept than wanted"],
    ["await this.send([NOTHING, END, NOTHING]);", "", "a replay has no end"],
  ]),
  ...inFile(
    "src/kv-events/sockets.ts",
    [...CONFIG, ...PUBLISHED],
    [
      ["const port = base + offset;", "const port = base;", "engines share a port"],
      [
        "if (!closed) retry = setTimeout(connect, RETRY_INTERVAL).unref();",
        "",
        "a peer that has gone is not looked for",
      ],
    ],
  ),
  ...inFile("src/kv-events/publishers.ts", PUBLISHED, [
    [
      "KvEventPublisher.open(events, rank)",
      "KvEventPublisher.open(events, 0)",
      "all engines have the ports of the first",
    ],
    ["await new KvEventPublishers(publishers).close();", "", "ports stay open where another is taken"],
    ["this.publishers[rank]!", "this.publishers[0]!", "all batches are of the first engine"],
  ]),
  ...inFile("src/kv-events/config.ts", CONFIG, [
    ['enable_kv_cache_events && publisher === "zmq"', 'publisher === "zmq"', "events are published unasked"],
    ['&& publisher === "zmq" ? events', "? events", "the null publisher publishes"],
  ]),
];
