/** GET and DELETE /responses/ID, GET /responses/ID/input_items, POST /responses/ID/cancel: responses that are stored. */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { listPage, pageOf } from "../body/paging.ts";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";
import type { Service } from "../service.ts";
import type { Item } from "./items.ts";
import { StoreReader } from "./store.ts";

function notStored(id: string): HttpError {
  const message = `no response '${id}' is stored: it was never stored, was deleted, or made room for others`;
  return new HttpError(404, message, "not_found");
}

/** A single response of any size can be read; of a conversation, as much as a request may continue. */
const readerOf = ({ responses, options }: Service, most = options.maxBodyBytes) => new StoreReader(responses, most);

const idOf = (c: Context<Env>) => c.req.param("id") ?? "";

export function storedResponse(service: Service) {
  return (c: Context<Env>): Response => {
    const id = idOf(c);
    const found = readerOf(service, Number.POSITIVE_INFINITY).get(id);
    if (!found) throw notStored(id);
    if (c.req.method === "DELETE") {
      service.responses.delete(id);
      return Response.json({ id, object: "response", deleted: true });
    }
    if (c.req.query("stream") === "true") throw notInBackground("stream=true");
    return Response.json(found.response);
  };
}

/** As with OpenAI, only a response in the background could be cancelled. A client ends others by closing its connection. */
export function cancelResponse(service: Service) {
  return (c: Context<Env>): Response => {
    if (!service.responses.get(idOf(c))) throw notStored(idOf(c));
    throw notInBackground("cancel");
  };
}

function notInBackground(what: string): FastgenError {
  const message = `${what}: only responses that run in the background can do that, and there are none; to end a stream, close it`;
  return new FastgenError("invalid_request", message);
}

/** The input of a response, with the conversation that it continues. */
export function inputItems(service: Service) {
  return (c: Context<Env>): Response => {
    const page = pageOf(c);
    const chain = readerOf(service).chain(idOf(c));
    if (!chain) throw notStored(idOf(c));
    const all: object[] = chain.flatMap(({ input, response }, i) => [
      ...input.map(listed),
      ...(i < chain.length - 1 ? response.output : []),
    ]);
    return listPage(all, page);
  };
}

/** An input item in OpenAI's shape. */
function listed(item: Item): object {
  const parts = (type: string, texts: readonly string[]) => texts.map((text) => ({ type, text }));
  const status = "completed";
  if (item.type === "message") {
    const isOutput = item.role === "assistant";
    const content = parts(isOutput ? "output_text" : "input_text", item.content);
    return { ...item, status, content: isOutput ? content.map((part) => ({ ...part, annotations: [] })) : content };
  }
  if (item.type === "function_call") return { ...item, status };
  if (item.type === "custom_tool_call") return item;
  if (item.type === "custom_tool_call_output") return { ...item, output: item.output.join("\n") };
  if (item.type === "function_call_output") return { ...item, status, output: item.output.join("\n") };
  const { content, summary, ...reasoning } = item;
  return {
    ...reasoning,
    summary: parts("summary_text", summary ?? []),
    ...(content && { content: parts("reasoning_text", content) }),
  };
}
