/** The input of a batch: checked as a whole before anything is done, then read again request by request. */
import { FastgenError } from "../../src/errors.ts";
import { MAX_BATCH_FAULTS } from "../../src/limits.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import type { IdIndex } from "./id-index.ts";
import { type FileLine, fileLines } from "./lines.ts";
import { type BatchRequest, type BatchUrl, isBlank, parseRequestLine } from "./request-line.ts";

export interface BatchInput {
  /** Path of the requests. */
  input: string;
  /** The one url that requests may have; null = any of BATCH_URLS. */
  endpoint: BatchUrl | null;
  /** Bytes of a line. */
  maxLineBytes: number;
  /** Requests in the file. */
  maxRequests: number;
}

/** What is wrong with a line of the input, in OpenAI's words. */
export interface LineFault {
  code: string;
  line: number;
  message: string;
  param: string | null;
}

/** The input was refused: nothing was done. */
export class BatchInputError extends FastgenError {
  /** The first ones. */
  readonly faults: LineFault[];

  constructor(message: string, faults: LineFault[]) {
    super("invalid_request", message);
    this.faults = faults;
  }
}

/** The lines of the input. Throws FastgenError "invalid_request" where it cannot be read. */
async function* readable(input: string, maxLineBytes: number): AsyncGenerator<FileLine> {
  try {
    yield* fileLines(input, maxLineBytes);
  } catch (error) {
    throw new FastgenError("invalid_request", `'${input}' cannot be read: ${systemReason(error, input)}`);
  }
}

/** Puts every custom_id into the index. Returns how many there are. Throws BatchInputError where any line is no request. `onRead` hears how far it is. */
export async function checkInput(
  job: BatchInput,
  index: IdIndex,
  signal: AbortSignal,
  onRead: (bytes: number) => void = () => {},
): Promise<number> {
  const { input, endpoint, maxLineBytes, maxRequests } = job;
  const faults: LineFault[] = [];
  let count = 0;
  let wrong = 0;
  const refuse = (line: number, error: FastgenError) => {
    wrong++;
    const { code, message, param } = error;
    if (faults.length < MAX_BATCH_FAULTS) faults.push({ code: code ?? "invalid_line", line, message, param });
  };
  for await (const line of readable(input, maxLineBytes)) {
    signal.throwIfAborted();
    onRead(line.start + line.length + (line.ended ? 1 : 0));
    if (isBlank(line)) continue;
    count++;
    try {
      const { custom_id } = parseRequestLine(line, endpoint);
      const first = index.add(custom_id, line.number);
      if (first !== null) {
        const message = `custom_id ${JSON.stringify(custom_id)} is that of line ${first}, too; each request needs its own`;
        throw new FastgenError("invalid_request", message, { code: "duplicate_custom_id", param: "custom_id" });
      }
    } catch (error) {
      if (!(error instanceof FastgenError)) throw error;
      refuse(line.number, error);
    }
    if (count > maxRequests) {
      const message = `the file has more than ${maxRequests} requests; split it`;
      refuse(line.number, new FastgenError("invalid_request", message, { code: "too_many_requests" }));
      break;
    }
  }
  if (count === 0) {
    refuse(1, new FastgenError("invalid_request", "the file has no requests", { code: "empty_file" }));
  }
  if (wrong === 0) return count;
  const [first] = faults;
  const more = wrong === 1 ? "" : wrong === 2 ? "; 1 more line is wrong" : `; ${wrong - 1} more lines are wrong`;
  throw new BatchInputError(`${input}, line ${first!.line}: ${first!.message}${more}. Nothing was done`, faults);
}

/** The requests of a checked input that the index does not know as done. */
export async function* openRequests(job: BatchInput, index: IdIndex): AsyncGenerator<BatchRequest> {
  for await (const line of readable(job.input, job.maxLineBytes)) {
    if (isBlank(line)) continue;
    const request = parseRequestLine(line, job.endpoint);
    if (!index.isDone(request.custom_id)) yield request;
  }
}
