/** A collector for tests: takes traces over OTLP (HTTP, protobuf) and keeps their spans. */

export interface Span {
  name: string;
  traceId: string;
  spanId: string;
  /** "" = the root of its trace. */
  parentId: string;
  kind: number;
  /** Unix nanoseconds. */
  start: bigint;
  end: bigint;
  attributes: Record<string, unknown>;
  /** 2 = error. */
  status: number;
  /** Of the program that sent it. */
  resource: Record<string, unknown>;
}

/** A protobuf message: by field number, its values in order. */
type Message = Map<number, (bigint | Uint8Array)[]>;

function decode(bytes: Uint8Array): Message {
  const message: Message = new Map();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const wire = tag & 7;
    let value: bigint | Uint8Array;
    if (wire === 0) value = varint();
    else if (wire === 1) {
      value = view.getBigUint64(at, true);
      at += 8;
    } else if (wire === 2) {
      const length = Number(varint());
      value = bytes.subarray(at, at + length);
      at += length;
    } else if (wire === 5) {
      value = BigInt(view.getUint32(at, true));
      at += 4;
    } else throw new Error(`wire type ${wire}`);
    const values = message.get(tag >> 3);
    if (values) values.push(value);
    else message.set(tag >> 3, [value]);
  }
  return message;
}

const part = (message: Message, field: number) => (message.get(field)?.[0] ?? new Uint8Array()) as Uint8Array;
const parts = (message: Message, field: number) => (message.get(field) ?? []).map((one) => decode(one as Uint8Array));
const number = (message: Message, field: number) => (message.get(field)?.[0] ?? 0n) as bigint;
const text = (message: Message, field: number) => new TextDecoder().decode(part(message, field));
const hex = (message: Message, field: number) => Buffer.from(part(message, field)).toString("hex");

/** AnyValue: a string, a boolean, an integer or a double. */
function anyValue(value: Message): unknown {
  const [field, values] = [...value][0]!;
  if (field === 1) return new TextDecoder().decode(values[0] as Uint8Array);
  if (field === 2) return values[0] !== 0n;
  if (field === 3) return Number(BigInt.asIntN(64, values[0] as bigint));
  return new Float64Array(BigUint64Array.of(values[0] as bigint).buffer)[0];
}

const attributes = (message: Message, field: number) =>
  Object.fromEntries(parts(message, field).map((pair) => [text(pair, 1), anyValue(decode(part(pair, 2)))]));

function spansOf(body: Uint8Array): Span[] {
  return parts(decode(body), 1).flatMap((group) => {
    const resource = attributes(decode(part(group, 1)), 1);
    return parts(group, 2).flatMap((scope) =>
      parts(scope, 2).map((span) => ({
        name: text(span, 5),
        traceId: hex(span, 1),
        spanId: hex(span, 2),
        parentId: hex(span, 4),
        kind: Number(number(span, 6)),
        start: number(span, 7),
        end: number(span, 8),
        attributes: attributes(span, 9),
        status: Number(number(decode(part(span, 15)), 3)),
        resource,
      })),
    );
  });
}

/** Listens on a port of its own. `answer` decides what a batch gets; default: 200. */
export function startCollector(answer: () => Response | Promise<Response> = () => new Response()) {
  const spans: Span[] = [];
  const paths: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      paths.push(new URL(request.url).pathname);
      const reply = await answer();
      if (reply.ok) spans.push(...spansOf(new Uint8Array(await request.arrayBuffer())));
      return reply;
    },
  });
  return { spans, paths, url: `http://127.0.0.1:${server.port}`, stop: () => server.stop(true) };
}
