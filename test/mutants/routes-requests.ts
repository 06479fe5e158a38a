/** Bugs planted in routes: from a body to what the library is asked for, and a stream's frames. */
import { inFile, type PlantedBug } from "./bugs.ts";

const tests = (...names: string[]) => names.map((name) => `routes/${name}.test.ts`);

export const requestBugs: PlantedBug[] = [
  ...inFile("routes/conversation/messages.ts", tests("server-defaults"), [
    ["defaults ? { ...defaults, ...given } : given", "given", "variables by default are not heard"],
    ["{ ...defaults, ...given }", "{ ...given, ...defaults }", "variables by default are those of every request"],
  ]),
  ...inFile("routes/body/fields.ts", tests("server-defaults"), [
    ["if (stream && force)", "if (false)", "usage is not forced"],
    [
      "{ ...stream_options, include_usage: true }",
      "{ include_usage: true, ...stream_options }",
      "a request declines forced usage",
    ],
    [
      "{ include_usage: true, ...stream_options }",
      "{ ...stream_options, include_usage: true }",
      "OpenRouter's field outweighs stream_options",
    ],
    ["if (stream && force)", "if (force)", "usage is forced where nothing is streamed"],
  ]),
  ...inFile("routes/app.ts", tests("server/other-paths"), [
    ["}/`) ? path.slice", "}`) ? path.slice", "a path that begins like --root-path is below it"],
    ['path.slice(root.length) || "/"', "path.slice(root.length)", "--root-path itself is no path"],
    ["pathAdvice(c.req.path)}", '""}', "an unknown path gets no advice"],
  ]),
  ...inFile("routes/server/other-paths.ts", tests("server/other-paths"), [
    ['path.replace(/^\\/v1(?=\\/)/, "")', "path", "paths below /v1 are unknown"],
    ['known.slice(0, known.lastIndexOf("/"))', '""', "what is below a path is unknown"],
  ]),
  ...inFile("routes/conversation/messages.ts", tests("body/fields", "openai/chat", "app"), [
    [
      'content !== undefined || role === "assistant"',
      "content !== undefined",
      "an assistant's message needs content beside its calls",
    ],
    ['content !== undefined || role === "assistant"', "true", "a user's message needs no content"],
    [
      "if (!trusted) throw refuse",
      "if (!trusted && inKwargs === undefined) throw refuse",
      "a template in chat_template_kwargs is trusted",
    ],
    [
      'if (typeof template !== "string") throw refuse("must be a string");',
      "",
      "a template in chat_template_kwargs may be anything",
    ],
    [
      "    ...chat_template_kwargs,\n    ...(reasoning_effort",
      "    ...(reasoning_effort",
      "an effort of reasoning drops the request's own variables",
    ],
    [
      "if (add_generation_prompt && continue_final_message) {",
      "if (false) {",
      "a message that goes on and a new one are asked for at once",
    ],
    [
      "holdsAtMost(kwargs, limits.MAX_TEMPLATE_KWARGS)",
      "holdsAtMost(kwargs, 1e9)",
      "chat_template_kwargs have no bound",
    ],
    ["fields[name] ?? (typeof inKwargs", "(typeof inKwargs", "the body's own flags of the last turn are not heard"],
    [
      'typeof inKwargs === "boolean" ? inKwargs : undefined',
      "undefined",
      "flags among the template's variables are not heard",
    ],
    ["...options, tools, documents };", "...options, tools };", "documents do not reach the template"],
    ['part.type == null && typeof part.text === "string"', "false", "a part without a type is no text"],
    ["parts && !parts.success ?", "false ?", "content parts are not checked"],
    [".max(limits.MAX_REQUEST_TEMPLATE_LENGTH)", "", "a request's template has no bound"],
    [
      "boundedArray(message, limits.MAX_MESSAGES, 1)",
      "boundedArray(message, limits.MAX_MESSAGES)",
      "a conversation may be empty",
    ],
  ]),
  ...inFile("routes/conversation/thinking.ts", tests("conversation/thinking", "body/fields"), [
    ['effort === undefined ? undefined : effort !== "none"', 'effort !== "none"', "verbosity switches thinking on"],
    ['effort === undefined ? undefined : effort !== "none"', "effort !== undefined || undefined", "no effort thinks"],
    ["if (own !== undefined) return own;", "if (own) return own;", "an effort switches on what was switched off"],
    ['thinking?.type === "disabled" ? false : undefined', "undefined", "thinking of type disabled is not heard"],
    ['effort === "default" || effort === "auto"', "false", "a template sees an effort that says nothing"],
    ["budget === -1 ? null : budget", "budget < 1 ? null : budget", "a budget of 0 is none"],
    ["reasoning_budget ?? nested ?? -1", "nested ?? reasoning_budget ?? -1", "an inner budget counts before an outer"],
    ["!(reasoning?.exclude ?? false)", "true", "reasoning.exclude is not heard"],
  ]),
  ...inFile("routes/conversation/tools.ts", tests("openai/chat-tools", "responses/responses"), [
    ['choice === "any" ? "required" : choice', 'choice === "any" ? "auto" : choice', "any tool need not be called"],
    ["wanted.delete(nameOf(tool))", "wanted.has(nameOf(tool))", "every choice allows what is none of tools"],
    ["tools: allowed, choice: choice.mode", "tools: [...tools], choice: choice.mode", "allowed_tools allows all"],
    ["choice: choice.mode", 'choice: "auto" as const', "none of the allowed tools need be called"],
    ["choice.allowed_tools ?? choice", "choice", "allowed_tools in chat's own form are refused"],
    ["if (wrong === undefined) return", "if (true) return", "what is none of tools may be allowed"],
  ]),
  ...inFile("routes/openai/chat.ts", tests("openai/chat"), [
    ["params.seed ??= random_seed", "params.seed = random_seed", "another server's name of the seed wins over it"],
  ]),
  ...inFile("routes/body/prompts.ts", tests("openai/completions", "app", "body/fields"), [
    ["value.length > most", "value.length < 0", "ids to be detokenised have no bound"],
    ["id < 2 ** 31", "id < 2 ** 32", "an id past int32 wraps round"],
    ["Number.isInteger(id) && id >= 0", "id >= 0", "an id may have a fraction"],
    ["Number.isInteger(id) && id >= 0", "Number.isInteger(id)", "an id may be negative"],
    ["prompt.length > MAX_PROMPTS_PER_REQUEST", "prompt.length > 2 ** 30", "prompts have no bound"],
    [
      'typeof item === "string" || isIds(item)',
      'typeof item === "string" || Array.isArray(item)',
      "ids among several prompts are not checked",
    ],
    ["value.length > 0 && value.every", "value.every", "a prompt of no ids"],
    ["refuse(`prompt[", "refuse(`prompts[", "an error names a field that no body has"],
    [
      'if (prompt.length === 0) throw refuse("prompt", "must not be empty");',
      "",
      "no prompts are a request without choices",
    ],
  ]),
  ...inFile("routes/body/fields.ts", tests("body/fields", "app", "openai/chat", "openai/completions", "operators"), [
    [
      "include_usage ?? continuous_usage_stats ?? false",
      "include_usage ?? false",
      "continuous statistics alone have no last frame",
    ],
    [
      "include_usage ?? continuous_usage_stats ?? false",
      "(include_usage || continuous_usage_stats) ?? false",
      "a last frame that was declined comes",
    ],
    ["continuous: final && (", "continuous: (", "statistics in every frame though all were declined"],
    ["if (!stream && streamUsage(fields).final)", "if (false)", "stream_options without a stream ask for nothing"],
    ["if (stream && prompt_logprobs !== null)", "if (false)", "a stream leaves prompt_logprobs out in silence"],
    [
      "logprob_token_ids?.length && !withLogprobs",
      "false",
      "logprob_token_ids without logprobs are ignored in silence",
    ],
    ["if (given[key] !== undefined) params", "if (given[key]) params", "a sampling field of 0 is not given"],
    [
      "truncation_side, cache_salt, priority };\n}",
      "truncation_side, priority };\n}",
      "a cache salt is ignored, so that strangers share pages",
    ],
    [
      "truncate_prompt_tokens, truncation_side, cache_salt, priority };\n}",
      "truncate_prompt_tokens, cache_salt, priority };\n}",
      "the side to cut is ignored",
    ],
    ["cache_salt, priority };\n}", "cache_salt };\n}", "a priority is ignored"],
    ["request_id ?? freshId", "freshId", "the reply's id is not the request's"],
  ]),
  ...inFile(
    "routes/openai/completion-frames.ts",
    tests("openai/completion-frames", "openai/completions", "body/fields"),
    [
      ["const held = [...this.#held, chunk];", "const held = [chunk];", "pieces that were held back are lost"],
      ["chunk.token_ids.length);", "1);", "usage so far counts frames"],
      [
        "if (finish_reason !== null) choice.listed.endsAfter(choice.length);",
        "",
        "tokens of a stop string stand past the end of the text",
      ],
      ["choice.length += codePoints(text)", "choice.length += text.length", "a text's length is in UTF-16 units"],
      ["&& !wanted && !ids) return out;", "&& !ids) return out;", "log probabilities of text held back are lost"],
      ["&& !wanted && !ids) return out;", "&& !wanted) return out;", "ids of text held back are lost"],
      ["JSON.stringify(chunk.stop_reason)}`", "JSON.stringify(null)}`", "a stream has no stop_reason"],
      ["if (ids) out +=", "if (ids && finish_reason === null) out +=", "the last piece has no token ids"],
      [
        "this.#run.generationOf(index);",
        "this.#run.generations[0]!;",
        "every choice begins with the first prompt's ids",
      ],
      [
        "return out + this.#ends.after(index);",
        "return out + this.#ends.after(0);",
        "usage so far is the first choice's",
      ],
      [
        "if (!this.#echo && !this.#returnIds) return",
        "if (!this.#echo) return",
        "a stream has no prompt_token_ids without an echo",
      ],
    ],
  ),
  ...inFile("routes/tokens/render.ts", tests("operators"), [
    [
      "...fastgen.default_params, ...params }",
      "...params, ...fastgen.default_params }",
      "the model's defaults win over the request",
    ],
    [
      "Math.min(resolved.max_tokens ?? room, room)",
      "resolved.max_tokens ?? room",
      "max_tokens reaches past the context",
    ],
    ["max_tokens: default_max_tokens, ", "", "completions have no default of max_tokens"],
    ["    checkTogether(fields, fields.logprobs ?? false);\n", "", "a conversation's fields are not checked together"],
    ["    checkTogether(fields, fields.logprobs !== null);\n", "", "a completion's fields are not checked together"],
    ["request.model ?? service.modelName", "service.modelName", "the model asked for is not named"],
    ["cache_salt: cache_salt ?? null", "cache_salt: null", "the salt is not told"],
    ["priority: priority ?? 0", "priority: 0", "the priority is not told"],
    ["stream_options: request.stream_options ?? null", "stream_options: null", "stream_options are not told"],
    [
      "chatPrompt(fields, service.options)",
      "chatPrompt(fields, { ...service.options, trustRequestChatTemplate: true })",
      "a request's template is trusted",
    ],
    [
      "await fastgen.tokenize(prompt, options)",
      "await fastgen.tokenize(prompt)",
      "what concerns the prompt does not reach the tokenizer",
    ],
  ]),
];
