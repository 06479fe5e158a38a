/**
 * Server-sent events. The frames of a request differ only in a few values: their constant parts are built once, and a token
 * costs one escape of its text, one concatenation and one encoding.
 */
import { asFastgenError, FastgenError } from "../src/errors.ts";
import type { Chunk } from "../src/types.ts";
import { errorBody } from "./errors.ts";
import type { Run } from "./run.ts";
import type { Service } from "./service.ts";

/** A resource's frames. */
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
  // nginx would hold frames back.
  "x-accel-buffering": "no",
};

/**
 * The pieces of `run` as an event stream. The stream is pulled, so a slow client holds back only itself: its sequences pause.
 * When it goes away, or nothing more can be sent for --stream-write-timeout seconds, the generation is aborted. An error
 * after the headers is an error event, without [DONE].
 */
export function eventStream(service: Service, run: Run, frames: Frames): Response {
  const { streamWriteSeconds } = service.options;
  const { record } = run;
  const encoder = new TextEncoder();
  const chunks = run.chunks();
  record.streaming = true;
  let gone = false;
  /** When the last frame was handed over; performance.now(). */
  let handedOver = 0;
  const end = (error?: FastgenError) => {
    run.end(error);
    record.end(200);
  };
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      // Generating may take as long as it takes.
      record.socketTimeout(0);
      try {
        for (;;) {
          const { done, value } = await chunks.next();
          const text = done ? `${frames.end()}data: [DONE]\n\n` : frames.chunk(value);
          if (text !== "") controller.enqueue(encoder.encode(text));
          if (done) {
            end();
            controller.close();
          }
          if (done || text !== "") break;
        }
        handedOver = performance.now();
        if (!gone) record.socketTimeout(streamWriteSeconds);
      } catch (thrown) {
        const error = asFastgenError(thrown);
        end(error);
        if (gone) return;
        service.report(record.id, error);
        controller.enqueue(encoder.encode(`event: error\n${frame(JSON.stringify(errorBody(error)))}`));
        controller.close();
      }
    },
    cancel() {
      gone = true;
      const unread = performance.now() - handedOver >= streamWriteSeconds * 1000;
      const why = unread ? `the client read nothing for ${streamWriteSeconds} seconds` : "the client went away";
      end(new FastgenError("aborted", why));
    },
  });
  return new Response(stream, { headers: HEADERS });
}
