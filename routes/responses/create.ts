/** POST /responses and /responses/input_tokens: OpenAI's Responses API, on the same conversations as chat. */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import { noteIgnored, readBody } from "../body/body.ts";
import type { Env } from "../context.ts";
import { Blocks } from "../conversation/blocks.ts";
import { Conversation } from "../conversation/conversation.ts";
import { longJson } from "../reply/long-json.ts";
import { eventStream } from "../reply/sse.ts";
import type { Service } from "../service.ts";
import { ResponseAnswer } from "./answer.ts";
import { ResponseFrames } from "./events.ts";
import { type InputItem, type Item, inputSchema } from "./items.ts";
import { checkFields, conversationRequest, inOwnWords } from "./request.ts";
import { ResponseEnvelope } from "./response.ts";
import { nestedFields, responseSchema } from "./schema.ts";
import { StoreReader } from "./store.ts";
import { Tools } from "./tools.ts";

/** A body, and the conversation that it stands for. */
async function readRequest(c: Context<Env>, service: Service) {
  const { fields, given } = await readBody(c, service, responseSchema, nestedFields);
  checkFields(fields);
  const stored = new StoreReader(service.responses, service.options.maxBodyBytes);
  const tools = new Tools(fields, service.options.allowExtraFields);
  noteIgnored(c, service, tools.ignored);
  const history = storedItems(stored, fields.previous_response_id);
  const input = (fields.input ?? []).map((item) => resolved(stored, item));
  const request = conversationRequest(fields, given, [...history, ...input], tools, service.options);
  return { fields, given, tools, input, request };
}

/** POST /responses/input_tokens: how long the prompt of such a request is. */
export function countInputTokens(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { request } = await readRequest(c, service);
    const ids = await service.fastgen.tokenize(request.prompt, { signal: c.req.raw.signal });
    return Response.json({ object: "response.input_tokens", input_tokens: ids.length });
  };
}

export function createResponse(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given, tools, input, request } = await readRequest(c, service);
    const conversation = await Conversation.start(c, service, request).catch((error) => {
      throw inOwnWords(error, fields);
    });
    const { run } = conversation;
    const envelope = new ResponseEnvelope(service, fields, given, tools, run.generations[0]!.params);
    const keep = (answer: ResponseAnswer) => {
      if (fields.store === false) return;
      service.responses.put({ response: answer.forStore(), input: withIds(input, envelope.hex) });
    };
    if (fields.stream) return eventStream(service, run, new ResponseFrames(envelope, conversation, keep));
    const answer = new ResponseAnswer(envelope, conversation, new Blocks());
    try {
      for await (const piece of conversation.parts()) answer.push(piece);
    } catch (error) {
      run.end(error);
      throw error;
    }
    run.end();
    const response = answer.end();
    keep(answer);
    return longJson(run.record, response);
  };
}

/** What a stored conversation consists of, up to the end of the response `id`. */
function storedItems(stored: StoreReader, id: string | undefined): Item[] {
  if (id === undefined) return [];
  const chain = stored.chain(id);
  if (chain) return chain.flatMap(({ input, response }) => [...input, ...outputItems(response.output)]);
  const message = `previous_response_id '${id}' is not stored, or a response that it continues is not; send the conversation as input`;
  const [param, code] = ["previous_response_id", "previous_response_not_found"];
  throw new FastgenError("invalid_request", message, { param, code });
}

/** Output items as input, which they may always be. */
function outputItems(output: object[]): Item[] {
  const parsed = parseWith(inputSchema, output);
  if (!parsed.success) throw schemaError(parsed.error);
  return parsed.data as Item[];
}

/** The item itself, where only its id was sent. */
function resolved(stored: StoreReader, item: InputItem): Item {
  if (item.type !== "item_reference") return item;
  const found = stored.item(item.id);
  if (found) return outputItems([found])[0]!;
  const message = `input: no item '${item.id}' is stored; send the item itself`;
  throw new FastgenError("invalid_request", message, { param: "input", code: "item_not_found" });
}

const PREFIXES = {
  message: "msg",
  function_call: "fc",
  function_call_output: "fco",
  custom_tool_call: "ctc",
  custom_tool_call_output: "ctco",
  reasoning: "rs",
};

/** Input items with ids: their own, or others than those of the output. */
function withIds(input: readonly Item[], response: string): Item[] {
  return input.map((item, i) => ({ ...item, id: item.id || `${PREFIXES[item.type]}_${response}in${i}` }));
}
