/**
 * Server-sent events. The frames of a request differ only in a few values: their constant parts are built once, and a token
 * costs one escape of its text, one concatenation and one encoding.
 */
import { asFastgenError, FastgenError } from "../../src/errors.ts";
import type { Chunk } from "../../src/types.ts";
import type { StreamUsage } from "../body/fields.ts";
import { errorBody } from "../errors.ts";
import type { Run } from "../run.ts";
import type { Service } from "../service.ts";

/** The frames of one kind of reply. */
export interface Frames {
  /** What comes before the first piece. */
  begin?(): string;
  /** The frames of one piece; "" while there is nothing to say. */
  chunk(chunk: Chunk): string;
  /** What follows the last piece. */
  end(): string;
  /** The last frame where an error ends the stream. */
  failed(error: FastgenError): string;
}

/** How OpenAI's streams end. */
export const DONE = "data: [DONE]\n\n";

export function frame(json: string): string {
  return `data: ${json}\n\n`;
}

/** An error in OpenAI's shape. It has no event name, as with vLLM: Go's client cannot read an error that has one. */
export function errorFrame(error: FastgenError): string {
  return frame(JSON.stringify(errorBody(error)));
}

const NO_USAGE = ',"usage":null}\n\n';

/** How frames end: with the version of the weights, and with the usage of their choice so far, with none, or without the field. */
export class FrameEnds {
  readonly #run: Run;
  readonly #usage: StreamUsage;
  /** What stands behind the choices of every frame, for `#version`. */
  #fields = "";
  #version: string | null = null;
  /** By choice: tokens so far. */
  readonly #tokens: number[] = [];

  constructor(run: Run, usage: StreamUsage) {
    this.#run = run;
    this.#usage = usage;
  }

  /** Counts new tokens of a choice. */
  count(index: number, tokens: number): void {
    this.#tokens[index] = (this.#tokens[index] ?? 0) + tokens;
  }

  /** From the end of the one choice to the end of the frame. `extra`: more fields of the frame, each after a comma. */
  after(index: number, extra = ""): string {
    const fields = `${extra}${this.#common()}`;
    if (!this.#usage.continuous) return `}]${fields}${this.#usage.final ? NO_USAGE : "}\n\n"}`;
    const prompt_tokens = this.#run.generationOf(index).prompt_token_ids.length;
    const completion_tokens = this.#tokens[index] ?? 0;
    const usage = { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
    return `}]${fields},"usage":${JSON.stringify(usage)}}\n\n`;
  }

  #common(): string {
    const { weightVersion } = this.#run;
    if (weightVersion !== this.#version) {
      this.#version = weightVersion;
      this.#fields = `,"weight_version":${JSON.stringify(weightVersion)}`;
    }
    return this.#fields;
  }

  /** The frame after the last piece: the request's usage; "" where nobody asked for it. */
  last(envelope: string, usage: object): string {
    return this.#usage.final
      ? frame(`${envelope},"choices":[]${this.#common()},"usage":${JSON.stringify(usage)}}`)
      : "";
  }
}

const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // nginx would otherwise hold frames back.
  "x-accel-buffering": "no",
};

/**
 * The pieces of `run` as an event stream. Status and headers come with the first piece. Until then an error has a status of its
 * own, and a router whose server is gone may send the request to another one. An error after that is a last frame.
 * The stream is pulled, so a slow client holds back only itself: its sequences pause. When the stream is cancelled, the
 * generation is aborted. Throws FastgenError.
 */
export async function eventStream(service: Service, run: Run, frames: Frames): Promise<Response> {
  const { record } = run;
  const encoder = new TextEncoder();
  const chunks = run.chunks();
  let first: IteratorResult<Chunk> | null = await chunks.next().catch((error) => {
    run.end(error);
    throw error;
  });
  record.streaming = true;
  /** What precedes the first piece goes with it: who has received anything has received a piece. */
  let opening = frames.begin?.() ?? "";
  let gone = false;
  const end = (error?: FastgenError) => {
    run.end(error);
    record.end(200);
  };
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        for (;;) {
          const { done, value }: IteratorResult<Chunk> = first ?? (await chunks.next());
          first = null;
          const text = opening + (done ? frames.end() : frames.chunk(value));
          opening = "";
          if (text !== "") controller.enqueue(encoder.encode(text));
          if (done) {
            end();
            controller.close();
            return;
          }
          if (text !== "") break;
        }
      } catch (thrown) {
        const error = asFastgenError(thrown);
        end(error);
        if (gone) return;
        service.report(record.id, error);
        controller.enqueue(encoder.encode(frames.failed(error)));
        controller.close();
      }
    },
    cancel(reason: unknown) {
      gone = true;
      end(reason instanceof FastgenError ? reason : new FastgenError("aborted", "the client went away"));
    },
  });
  return new Response(stream, { headers: HEADERS });
}
