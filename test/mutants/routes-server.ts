/** Bugs planted in routes: the port and its connections, and what operators are told. */
import { inFile, type PlantedBug } from "./bugs.ts";

const tests = (...names: string[]) => names.map((name) => `routes/${name}.test.ts`);
const SOCKETS = tests("flow", "openai/chat", "server/connection");

export const serverBugs: PlantedBug[] = [
  ...inFile("routes/server/page.ts", tests("server/page"), [
    ["given.length > MAX_PAGE_SERVERS", "given.length < 0", "the policy's length is the caller's"],
    ["given.find((text) => !isServerOrigin(text))", "given.find(() => false)", "any text gets into the policy"],
    ['if (takesGzip) headers.set("content-encoding", "gzip");', "", "compressed bytes pass for HTML"],
    ["takesGzip ? read.gzip : read.html", "read.html", "the page travels at its full size"],
    ["(?!\\s*;\\s*q=0(\\.0*)?\\s*(,|$))", "", "a client gets the encoding that it has ruled out"],
    ["  \"frame-ancestors 'none'\",\n", "", "any page may frame the page"],
    ["  \"trusted-types 'none'\",\n", "", "a script of the page may make markup of texts"],
    ['["script", "style"].map', '["script"].map', "the page comes without its style"],
  ]),
  ...inFile("routes/server/page-servers.ts", tests("server/page"), [
    ["return isPlain && ", "return ", "an address of another scheme gets into the policy"],
    [" && URL.parse(text)?.origin === text", "", "a server has two addresses"],
  ]),
  ...inFile("routes/app.ts", tests("server/page"), [["if (service.options.ui) app", "app", "--no-ui does nothing"]]),
  ...inFile("routes/openai/models.ts", tests("app"), [
    ['c.req.header("anthropic-version") !== undefined', "true", "OpenAI's clients get Anthropic's list"],
    ['c.req.header("anthropic-version") !== undefined', "false", "Anthropic's clients get OpenAI's list"],
  ]),
  ...inFile("routes/app.ts", tests("app"), [
    ['.replace(/\\/{2,}/g, "/")', "", "a base URL that ends in a slash leads nowhere"],
    [
      '.replace(/^\\/v1(?=\\/v1\\/)/, "")',
      "",
      "a base URL that ends in /v1 leads nowhere where the client adds its own",
    ],
  ]),
  ...inFile("routes/admin/profile.ts", tests("admin/profile"), [
    ["if (this.#written) throw", "if (false) throw", "a second profile takes the first one's place"],
    ["this.#written = null;\n    });", "});", "a profile that is written is still being recorded"],
    ["if (directory === null) {", "if (false) {", "a profile goes to a folder that nobody named"],
    ["await this.#written?.catch(() => {});", "", "the server ends before its profile is written"],
    [
      "if (this.#written) fastgen.stopProfile();",
      "if (false) fastgen.stopProfile();",
      "the second signal ends nothing",
    ],
    [".max(limits.MAX_PROFILE_STEPS)", "", "a profile of any number of steps"],
    ["makeProfileFolder(directory);", "", "a profile is said to have begun that never will"],
  ]),
  ...inFile(
    "routes/server/exchange.ts",
    [...SOCKETS, "routes/reply/long-json.test.ts"],
    [
      ["if (!outgoing.writableFinished) this.#gone.abort();", "", "nobody notices that a client has gone"],
      ["incoming.pause();\n    });", "});", "a body is read ahead of its reader"],
      ["if (this.#open) this.#controller.error(error);", "", "a body that breaks off is waited for"],
      ["this.#open = false;\n    this.#incoming.resume();", "this.#open = false;", "the rest of a refused body stays"],
      [
        '?.startsWith("text/event-stream")) return [];',
        '?.startsWith("-")) return [];',
        "an event waits for the next one",
      ],
      ['this.#cancel(new FastgenError("aborted", message));', "", "a reply that nobody reads goes on"],
      [
        "this.#outgoing.destroyed || this.#outgoing.write(piece)",
        "(this.#outgoing.write(piece), true)",
        "no reply waits for its reader",
      ],
      ["headers.append(", "headers.set(", "of two headers of one name the first is lost"],
      [
        'if (last || this.#mayWait) reply.headers.set("connection", "close");',
        "",
        "a connection too many is kept for further requests",
      ],
      ['url.startsWith("/") ?', "true ?", "a proxy's target, a whole URL, is not understood"],
      ["if (second) return [first, second];", "if (second) return [first];", "the second piece of a reply is lost"],
      ['this.#outgoing.setHeader("content-length", first.byteLength);', "", "a reply in one piece has no length"],
      ["    clearTimeout(timer);\n", "", "a client that was slow once is cut off later"],
      [
        "void this.#reader?.cancel(why);\n    this.#wake();",
        "void this.#reader?.cancel(why);",
        "a reply to a client that has gone waits for ever",
      ],
      ["void this.#reader?.cancel(why);\n", "", "the reply to a client that has gone is not cancelled"],
      ["outgoing.statusCode = this.#reply.status;", "", "every reply is a 200"],
      ["this.#body.drop();\n    }", "}", "a body that nobody reads blocks its connection"],
    ],
  ),
  ...inFile(
    "routes/reply/sse.ts",
    [...SOCKETS, "routes/responses/responses.test.ts"],
    [
      ["await chunks.next().catch(", "null; void (", "a stream begins before its first token"],
      [
        "    run.end(error);\n    throw error;",
        "    throw error;",
        "a stream that fails at once keeps its place in the queue",
      ],
      ['opening = "";', "", "every event has what precedes the first one"],
      ["first = null;", "first = { done: true, value: undefined };", "a stream ends with its first token"],
    ],
  ),
  ...inFile(
    "routes/server/connection.ts",
    [...SOCKETS, "routes/server/listen.test.ts"],
    [
      ["if (this.#broken) this.#socket.end();", "", "a broken connection stays open"],
      ["for (const exchange of this.#exchanges) exchange.breakOff(error);", "", "a broken body is waited for"],
      ["if (this.#exchanges.length > 0 && this.#socket.writable) return;", "", "noise cuts the answer before it off"],
      ["this.#exchanges.length > MAX_PIPELINED ||", "", "pipelined requests are read without bound"],
      ["await nextTurn();", "", "pipelined requests hold up everybody"],
      ["this.#pipelines.waiting -= Math.max(0, this.#exchanges.length - 1);", "", "who leaves waits for ever"],
      ['if (code === "HPE_HEADER_OVERFLOW") {', "if (false) {", "headers that are too large are no HTTP"],
      ['if (code === "ERR_HTTP_REQUEST_TIMEOUT")', "if (false)", "a slow request is no HTTP"],
      ["this.#socket.end(rawReply(error))", "this.#socket.destroy()", "noise is not answered"],
    ],
  ),
  ...inFile("routes/server/listen.ts", tests("server/connection", "server/listen"), [
    ["++open > maxConnections", "++open >= maxConnections", "a connection less than there may be"],
    ['socket.on("close", () => open--);', "", "connections that have closed count"],
    [
      "maxConnections = maxConnections + SPARE_CONNECTIONS",
      "maxConnections = maxConnections",
      "nobody is told that there are too many connections",
    ],
    ["server.closeAllConnections();", "", "stopping waits for idle connections"],
    ["isIPv6(bound.address) ?", "false ?", "an IPv6 address is no URL"],
    ["maxHeaderSize: MAX_HEADER_BYTES,", "maxHeaderSize: 1 << 24,", "headers have no bound"],
    ['if (code === "EADDRINUSE")', "if (false)", "a port in use is not named as such"],
  ]),
  ...inFile("routes/admin/server-info.ts", tests("operators"), [
    ['c.req.query("config_format") !== "json"', 'c.req.query("config_format") === "text"', "text is not the default"],
    ["num_gpu_blocks: capacity.pages", "num_gpu_blocks: capacity.host_pages", "device pages are host pages"],
    ["num_cpu_blocks: capacity.host_pages", "num_cpu_blocks: capacity.pages", "host pages are device pages"],
    ["served_model_name: modelName", "served_model_name: model.name", "the served name is the model's own"],
    ["world_size: tensor_parallel_size * engines", "world_size: 1", "the world is one device"],
    ['typeof value === "string" ?', "false ?", "strings have no quotes"],
    [
      "max_num_batched_tokens: capacity.max_num_batched_tokens",
      "max_num_batched_tokens: capacity.max_num_seqs",
      "the tokens of a step are its sequences",
    ],
  ]),
  ...inFile("routes/metrics/otlp.ts", tests("metrics/otlp"), [
    ["if (told) return;", "", "every batch that is lost is told"],
    ["Math.min(...firsts)", "Math.max(...firsts)", "the first token is the last choice's"],
    ["filter(({ tokens }) => tokens > 0)", "filter(() => true)", "a sequence without tokens has a first one"],
    ["closing ??= settles(", "closing = settles(", "a second close shuts down again"],
    ["one.prefill + decode(one)", "decode(one)", "inference leaves the prompt out"],
    ["if (error) span.setStatus", "if (false) span.setStatus", "a failed request's span is fine"],
    ["own.merge(detectResources({ detectors: [envDetector] }))", "own", "OTEL_SERVICE_NAME is not read"],
    ["startTime, attributes: attributes(request) }", "attributes: attributes(request) }", "a span begins at its end"],
    [
      "Math.max(0, ...times.map(time))",
      "Math.min(...times.map(time))",
      "of several sequences the shortest times are told",
    ],
    ["(one.newest - one.first) / 1000", "one.newest - one.first", "the time of decoding is in milliseconds"],
    ["maxQueueSize: MAX_QUEUED_SPANS,", "maxQueueSize: 2 ** 20,", "spans that wait have no bound"],
  ]),
];
