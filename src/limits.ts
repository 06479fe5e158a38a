/** Every bound on what a caller may send or hold, with its unit and reason. libfastgen's own are in fastgen.h. */

/**
 * Bytes of one HTTP body (--max-body-bytes). A 128k-token prompt is under 1 MiB, as text or as ids. JSON.parse runs in one go,
 * and nothing else is served meanwhile: 8 MiB of the slowest text (escapes) take about 40 ms.
 */
export const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** Bytes of all HTTP bodies that are being read, parsed and tokenised at once (--max-total-body-bytes). */
export const MAX_TOTAL_BODY_BYTES = 256 * 1024 * 1024;

/** Bytes of a body that is small: it does not count towards MAX_TOTAL_BODY_BYTES, so that large ones never crowd it out. */
export const SMALL_BODY_BYTES = 64 * 1024;

/** Nesting of arrays and objects in a JSON body. Whatever walks the values recursively is safe below it. */
export const MAX_JSON_DEPTH = 64;

/** Arrays and objects in a JSON body; parsing one costs 0.2 microseconds. MAX_MESSAGES of several parts each fit. */
export const MAX_JSON_CONTAINERS = 65_536;

/** Object keys in a JSON body; parsing a new one costs 0.5 microseconds. */
export const MAX_JSON_KEYS = 65_536;

/** Values in a JSON body, which are token ids where there are many. */
export const MAX_JSON_VALUES = 1_200_000;

/**
 * UTF-16 units of a text that cannot be cut where it is tokenised (pieces.ts). The tokenizer's regular expressions may go back over
 * all of it, and end the process after 10 million retries.
 */
export const MAX_PIECE_LENGTH = 1_048_576;

/** Connections (--max-connections), each a file descriptor; fewer where the process may open fewer files. */
export const MAX_CONNECTIONS = 16_384;

/** Connections beyond the limit that are still heard: their requests are refused in words, and probes are answered. */
export const SPARE_CONNECTIONS = 64;

/** File descriptors that no connection takes: the model's files, libraries, pipes, the GPUs' device files. */
export const RESERVED_DESCRIPTORS = 128;

/** Bytes of a request's line and headers together; beyond it 431. Node's own bound. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** Requests being read or answered at once; and those that wait behind others on their connections, in all. */
export const MAX_REQUESTS = 8192;

/**
 * Requests that one connection may have open: the one being answered, and those that are pipelined behind it.
 * They are read in one go, for up to 0.5 ms each on a busy machine, and nothing else is served meanwhile.
 */
export const MAX_PIPELINED = 128;

/** Requests waiting for a slot, each choice of `n` counted (--max-queued-seqs). Beyond it: 429, before tokenising. */
export const MAX_QUEUED_SEQUENCES = 16_384;

/** Prompts in one `completions` request, and sequences in one `score` request. */
export const MAX_PROMPTS_PER_REQUEST = 2048;

/** Choices for one prompt (`n`). OpenAI's bound. */
export const MAX_CHOICES = 128;

/** Stop strings per request. OpenAI allows 4, vLLM any number; each is searched for in every piece of output. */
export const MAX_STOP_STRINGS = 64;

/** UTF-16 code units of one stop string: a stream may hold back as much output. */
export const MAX_STOP_STRING_LENGTH = 256;

/** Alternatives per token (`top_logprobs`): FG_MAX_LOGPROBS of fastgen.h. */
export const MAX_LOGPROBS = 20;

/** Log probabilities of an echoed prompt in a stream, alternatives counted: they are one frame. Else there is no bound. */
export const MAX_STREAMED_PROMPT_LOGPROBS = 65_536;

/**
 * Log probabilities of a streamed response, alternatives counted, that its last events repeat; where there are more, they
 * stand beside the pieces of text alone.
 */
export const MAX_REPEATED_LOGPROBS = 16_384;

/** Extra stop ids per request; with the model's own they stay below FG_MAX_STOP_IDS of fastgen.h. */
export const MAX_STOP_TOKEN_IDS = 64;

/** Entries of allowed_token_ids: the largest vocabularies have 262,144 ids. */
export const MAX_ALLOWED_TOKEN_IDS = 524_288;

/** Entries of bad_words. Each is compared with the newest tokens at every step. */
export const MAX_BAD_WORDS = 256;

/** UTF-16 code units of one of them. */
export const MAX_BAD_WORD_LENGTH = 256;

/** Entries of logprob_token_ids: a line of logits comes back from the device for each token that asks for some. */
export const MAX_LOGPROB_TOKEN_IDS = 1024;

/** Entries of logit_bias: FG_MAX_LOGIT_BIAS of fastgen.h. */
export const MAX_LOGIT_BIAS = 1024;

/**
 * Characters of what structured outputs are described by: a schema as JSON, a grammar, or all choices together; and of the grammar
 * that is compiled for a request, with the schemas of its tools in it. Large real schemas have 100,000.
 */
export const MAX_STRUCTURE_LENGTH = 524_288;

/** Levels of nesting in a schema. A JSON body has MAX_JSON_DEPTH in all. */
export const MAX_SCHEMA_DEPTH = 64;

/** Keywords, listed values and pairs of oneOf in a schema, what it refers to counted once more: they take 0.5 microseconds each. */
export const MAX_SCHEMA_KEYWORDS = 65_536;

/** Characters of one regular expression. Real ones are under 1000. */
export const MAX_REGEX_LENGTH = 16_384;

/** Groups within groups of a regular expression. */
export const MAX_REGEX_DEPTH = 100;

/** What a repetition of a regular expression or a grammar may count to. */
export const MAX_REGEX_REPEATS = 100_000;

/** Entries of `choice`, and of a structural tag's structures, triggers, tags and elements. */
export const MAX_STRUCTURE_PARTS = 8192;

/** Keywords and values of the parts of a schema's allOf, with all that they refer to in place of the references. */
export const MAX_SCHEMA_EXPANSION = 50_000;

/** Messages in one chat request. */
export const MAX_MESSAGES = 4096;

/** Text parts in one message. */
export const MAX_CONTENT_PARTS = 4096;

/** Characters of the name of a tool or a schema. OpenAI's bound is 64; MCP servers have longer ones. */
export const MAX_TOOL_NAME_LENGTH = 256;

/** Responses that are kept for later requests (--max-stored-responses). Beyond it the ones that were longest unused go. */
export const MAX_STORED_RESPONSES = 10_000;

/** Bytes of them, as JSON (--max-stored-response-bytes). */
export const MAX_STORED_RESPONSE_BYTES = 256 * 1024 * 1024;

/** Entries of `metadata`. OpenAI allows 16; some clients keep more there. */
export const MAX_METADATA_ENTRIES = 64;

/** Fields that --allow-extra-fields ignores: of one request, those that a reply names, and the ones that the log names in all. */
export const MAX_NAMED_FIELDS = 64;

/** Characters of a weight_version. Every reply has it. */
export const MAX_WEIGHT_VERSION_LENGTH = 128;

/** Tensors in one update of the weights from memory. Large models have 1,000. */
export const MAX_DEVICE_TENSORS = 16_384;

/** Characters of a tensor's name, and of its dtype. */
export const MAX_TENSOR_NAME_LENGTH = 256;

/** Characters of the path of a folder of weights: Linux's own bound. */
export const MAX_PATH_LENGTH = 4096;

/** Characters of a cache_salt. vLLM's bound. */
export const MAX_CACHE_SALT_LENGTH = 1024;

/** Values in chat_template_kwargs, nested ones counted: the template engine converts each for every request. */
export const MAX_TEMPLATE_KWARGS = 4096;

/** Ids in one `detokenize` request: turning them into text takes about 25 ms. */
export const MAX_DETOKENIZE_IDS = 262_144;

/** Seconds that one grammar may take to compile. Real ones take milliseconds; some expressions would take hours. */
export const MAX_COMPILE_SECONDS = 2;

/**
 * Compiled grammars that are kept, and characters of their texts: a compiled grammar takes memory in proportion. As much again of the
 * structures that were asked for, with their rules.
 */
export const MAX_CACHED_GRAMMARS = 512;
export const MAX_CACHED_GRAMMAR_LENGTH = 4 * 1024 * 1024;

/** Grammars that wait to be compiled. Beyond it: 429. */
export const MAX_WAITING_GRAMMARS = 1024;

/** Bytes of a safetensors header, and of an index of several; the format's own bound is 100 MB, real ones are under 1 MB. */
export const MAX_SAFETENSORS_HEADER_BYTES = 100_000_000;

/** Characters of a model's chat template, or of --chat-template. Real ones are under 20,000. */
export const MAX_TEMPLATE_LENGTH = 200_000;

/** Characters of a chat template in a request: others wait while it is parsed, for about 50 ms at most. */
export const MAX_REQUEST_TEMPLATE_LENGTH = 50_000;

/**
 * Bytes of output that may wait for a stream's reader before its sequences pause, estimated as they lie in memory. The
 * kernel's socket buffers hold up to about 4 MB before that.
 */
export const MAX_UNREAD_BYTES = 1024 * 1024;

/** Seconds for which nothing more can be sent to a stream's reader before its connection closes (--stream-write-timeout). */
export const STREAM_WRITE_SECONDS = 60;

/** Seconds that SIGTERM waits for running requests before they are cut off (--shutdown-timeout). */
export const DRAIN_SECONDS = 30;

/** Seconds that a connection may be idle between requests, and that headers may take to arrive (--timeout-keep-alive). */
export const IDLE_SECONDS = 60;

/** Seconds in which a body must arrive whole: a client that sends in drops would hold memory and a connection. */
export const BODY_SECONDS = 120;

/** Seconds in which the rest of a body is received and dropped before its connection closes, so that the client reads the reply. */
export const LINGER_SECONDS = 5;

/** Bytes of log lines that wait for a slow reader of stderr; lines beyond it are dropped and counted. */
export const MAX_LOG_BACKLOG_BYTES = 1024 * 1024;

/** Characters of an error message in the access log. It may quote what the caller sent. */
export const MAX_LOGGED_MESSAGE_LENGTH = 500;

/** Characters of an x-request-id, where a longer one is replaced, and of request_id. It is copied to the reply and to the log. */
export const MAX_REQUEST_ID_LENGTH = 128;

/** Seconds in which the engine must answer /liveness. It answers between steps, and a step takes seconds at most. */
export const LIVENESS_SECONDS = 30;

/** Seconds for which a browser may keep the answer to a preflight. */
export const PREFLIGHT_SECONDS = 600;

/**
 * Events of requests in a profile, and of each engine's scheduler: a file of 150 MB at most. The library's part has a bound of its
 * own (FG_TRACE_EVENTS of fastgen.h). What is beyond it is left out, and the file says so.
 */
export const MAX_PROFILE_EVENTS = 1_048_576;

/** Steps that a profile may be started for; without a number it goes on until it is stopped, or full. */
export const MAX_PROFILE_STEPS = 1_000_000;

/** Servers that the page's address may name: each is an entry of its Content-Security-Policy. */
export const MAX_PAGE_SERVERS = 16;

/** Bytes of a file of conversations that the page takes in; the browser holds it in memory several times over. */
export const MAX_IMPORT_BYTES = 128 * 1024 * 1024;

/** Conversations in such a file. */
export const MAX_IMPORTED_CONVERSATIONS = 10_000;

/** Messages in one of its conversations, all branches together. */
export const MAX_IMPORTED_MESSAGES = 20_000;

/** Spans that wait for a trace collector; those beyond it are dropped. One is about a kilobyte. */
export const MAX_QUEUED_SPANS = 2048;

/** Seconds that the end of the server waits for a trace collector to take the last spans. */
export const TRACE_FLUSH_SECONDS = 3;

/**
 * UTF-16 code units that are held back while it is not yet certain that they are a tool call: arguments that a model writes
 * before the name, say. Beyond it they are text.
 */
export const MAX_HELD_CALL_LENGTH = 65_536;

/** Spaces and line ends at the end of a text that are held back: they fall away where a tool call follows. */
export const MAX_HELD_SPACE = 1024;

/** UTF-16 code units of a batch's custom_id. */
export const MAX_CUSTOM_ID_LENGTH = 512;

/** Requests in a batch that a server runs, and bytes of a file that is uploaded for one. fgbatch takes any number. OpenAI's bounds. */
export const MAX_BATCH_REQUESTS = 50_000;
export const MAX_BATCH_FILE_BYTES = 200 * 1024 * 1024;

/** Bytes of all files and results of batches that a server keeps (--max-batch-bytes). */
export const MAX_BATCH_BYTES = 4 * 1024 * 1024 * 1024;

/** Files and batches that a server keeps. A batch that has ended makes room for a new one; files are deleted by their owners. */
export const MAX_BATCH_FILES = 10_000;
export const MAX_BATCHES = 1000;

/** Fields of an upload beside its file, and characters of its name. */
export const MAX_FORM_FIELDS = 8;
export const MAX_FILE_NAME_LENGTH = 255;

/** Characters of a key and of a value of a batch's metadata, which are kept with it. */
export const MAX_BATCH_METADATA_LENGTH = 512;

/** Wrong lines of a batch's input that are named; the others are counted. */
export const MAX_BATCH_FAULTS = 100;

/** Bytes of the reply to one request of a batch: it is one line of a file, and is held whole. */
export const MAX_BATCH_REPLY_BYTES = 64 * 1024 * 1024;

/** Engines of one setup that may share a --kv-cache-dir, each with a folder of its own in it. */
export const MAX_KV_CACHE_ENGINES = 64;

/** Pages that an engine keeps in its --kv-cache-dir, whatever the size: 0.3 kilobytes of memory each. */
export const MAX_KV_CACHE_PAGES = 1_000_000;

/** Seconds for which a request of a batch is made again while the server is busy or out of reach. */
export const BATCH_PATIENCE_SECONDS = 600;

/** Peers of one endpoint of KV events, which are routers and monitors. Those beyond it are closed at once. */
export const MAX_KV_EVENT_CONNECTIONS = 256;

/** Bytes of a frame that one of them sends: a topic, or a request for a replay. */
export const MAX_KV_EVENT_FRAME_BYTES = 4096;

/** Seconds in which a peer must have said who it is. */
export const KV_EVENT_HANDSHAKE_SECONDS = 10;

/** Beginnings of topics that one of them asks for. */
export const MAX_KV_EVENT_SUBSCRIPTIONS = 64;

/** Characters of the topic. */
export const MAX_KV_EVENT_TOPIC_LENGTH = 1024;

/** Bytes of KV events that may wait for a peer that does not keep up; it misses what is beyond them. */
export const MAX_KV_EVENT_UNREAD_BYTES = 16 * 1024 * 1024;

/** Batches of KV events that can be kept for a replay (buffer_steps), and bytes of them. Beyond it the oldest go. */
export const MAX_KV_EVENT_BUFFER_STEPS = 1_000_000;
export const MAX_KV_EVENT_REPLAY_BYTES = 256 * 1024 * 1024;

/** Replays that one peer may have asked for and not received. */
export const MAX_KV_EVENT_REPLAYS = 16;

/** Engines of one process (--data-parallel-size): more GPUs than any machine has. */
export const MAX_ENGINES = 64;

/** Pages that the main thread remembers of each of several engines: of prompts that it was sent, and on its disk; 100 bytes each. */
export const MAX_INDEXED_PAGES = 262_144;
