/**
 * Server-sent events. The frames of a request differ only in a few values: their constant parts are built once, and a token
 * costs one escape of its text, one concatenation and one encoding.
 */
import { asFastgenError, FastgenError } from "../src/errors.ts";
import type { Chunk } from "../src/types.ts";
import { errorBody } from "./errors.ts";
import type { Run } from "./run.ts";
import type { Service } from "./service.ts";

/** The frames of one kind of reply. */
export interface Frames {
  /** The frames of one piece; "" while there is nothing to say. */
  chunk(chunk: Chunk): string;
  /** What follows the last piece, before [DONE]. */
  end(): string;
}

export function frame(json: string): string {
  return `data: ${json}\n\n`;
}

const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // nginx would otherwise hold frames back.
  "x-accel-buffering": "no",
};

/**
 * The pieces of `run` as an event stream. The stream is pulled, so a slow client holds back only itself: its sequences pause.
 * When the stream is cancelled, the generation is aborted. An error after the headers is an error event, without [DONE].
 */
export function eventStream(service: Service, run: Run, frames: Frames): Response {
  const { record } = run;
  const encoder = new TextEncoder();
  const chunks = run.chunks();
  record.streaming = true;
  let gone = false;
  const end = (error?: FastgenError) => {
    run.end(error);
    record.end(200);
  };
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        for (;;) {
          const { done, value } = await chunks.next();
          const text = done ? `${frames.end()}data: [DONE]\n\n` : frames.chunk(value);
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
        controller.enqueue(encoder.encode(`event: error\n${frame(JSON.stringify(errorBody(error)))}`));
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
