/** Bugs planted in src/text. */
import { inFile, type PlantedBug } from "./bugs.ts";

const beside = (name: string) => [`src/text/${name}.test.ts`];

export const textBugs: PlantedBug[] = [
  ...inFile("src/text/detokenizer.ts", beside("detokenizer"), [
    ["if (width <= n) return 0;", "if (width < n) return 0;", "a whole character is held back"],
    ["lead === 0xed && second > 0x9f", "lead === 0xed && second > 0xbf", "surrogates are held back"],
    ["lead === 0xf4 && second > 0x8f", "lead === 0xf4 && second > 0xbf", "code points past the last are held back"],
    ["lead < 0xf5 ? 4 : 1", "4", "a byte that begins no character is held back"],
    ["options.skipSpecialTokens ?? true", "options.skipSpecialTokens ?? false", "special tokens are shown by default"],
    ["if (this.#pending.length === 0) {\n      let", "{\n      let", "the cache is used though bytes are pending"],
    [
      "const text = decoder.decode(this.#pending);\n    this.#pending = new Uint8Array(0);\n    return text;",
      'this.#pending = new Uint8Array(0);\n    return "";',
      "an incomplete last character is lost",
    ],
    [
      "const text = decoder.decode(this.#pending);\n    this.#pending = new Uint8Array(0);",
      "const text = decoder.decode(this.#pending);",
      "a second flush repeats the last character",
    ],
    ["this.#toStrip > 0 && cut < bytes.length", "cut < bytes.length", "more spaces than the rule says are taken off"],
    ["if (cut < bytes.length || this.#toStrip === 0) this.#atStart = false;", "", "the start of a text never ends"],
    ["(options.wholeText ?? false)", "true", "a continuation loses its first space"],
  ]),
  ...inFile("src/text/stop-strings.ts", beside("stop-strings"), [
    ["k > this.#stops[found]!.length", "k < this.#stops[found]!.length", "of two that end together the shorter wins"],
    [
      "while (k > 0 && c !== stop.charCodeAt(k)) k = fail[k - 1]!;\n        if",
      "if (k > 0 && c !== stop.charCodeAt(k)) k = 0;\n        if",
      "a stop string that begins again within itself is missed",
    ],
    ["this.#include ? i + 1 : i + 1 - stop.length", "i + 1 - stop.length", "include_stop_str_in_output is not heard"],
    ['if (this.#stopped) return { text: "", stop: null };', "", "text after the stop string is shown"],
    ["all.length - Math.max(...state)", "all.length - Math.min(...state)", "the start of a stop string is shown"],
    [
      'const text = this.#held;\n    this.#held = "";\n    return text;',
      'this.#held = "";\n    return "";',
      "what was held back is lost at the end",
    ],
    ["let i = this.#held.length; i", "let i = 0; i", "held text is matched twice"],
  ]),
  ...inFile("src/text/generation-config.ts", beside("generation-config"), [
    ["generation.eos_token_id.length > 0", "true", "config.json's stop ids are not read"],
    ["generation.eos_token_id.length > 0", "false", "generation_config.json's stop ids are not read"],
    [
      "generation.eos_token_id.length > 0 ? generation.eos_token_id : config.eos_token_id",
      "[...generation.eos_token_id, ...config.eos_token_id]",
      "the stop ids of both files add up",
    ],
    ["[eos, tokenizer.leading", "[tokenizer.leading", "tokenizer_config.json's stop id is not read"],
    [
      "[eos, tokenizer.leadingSpecial(afterAnswer.trimStart())]",
      "[eos]",
      "the template's end of a turn ends no answer",
    ],
    ['"top_p", "top_k", "min_p"', '"top_p", "top_k"', "min_p is not read"],
    [
      "params.max_tokens = generation.max_new_tokens",
      "params.min_tokens = generation.max_new_tokens",
      "max_new_tokens is another parameter",
    ],
    ["if (value != null) params[key]", "if (value) params[key]", "a default of 0 is not taken"],
    ["sort((a, b) => a - b)", "sort()", "stop ids are sorted as text"],
    ["max_new_tokens: z.int().min(1)", "max_new_tokens: z.int()", "a max_new_tokens of 0 or less is taken"],
  ]),
  ...inFile(
    "src/text/token-table.ts",
    [...beside("token-table"), ...beside("detokenizer")],
    [
      ["if (token.special) special[token.id] = 1;", "special[token.id] = 1;", "every added token is special"],
      ["for (const token of added) set(token.id, token.content);", "", "added tokens have no text"],
      ["(b >= 0xa1 && b <= 0xac)", "(b >= 0xa1 && b <= 0xad)", "byte 0xad has another stand-in"],
      ['data.add_prefix_space === false ? "never" : "always"', '"always"', "add_prefix_space is not read"],
      ["if (byte < 0) return start + utf8", "if (byte < 0) return end + utf8", "a token outside the byte alphabet"],
      ["id > MAX_ID || typeof token", "typeof token", "an id of any size asks for memory"],
      ["while (tokens.length < id) tokens.push(undefined);", "", "holes in the vocabulary"],
      [
        'part.type === "Replace" && !fused && !rule.byteFallback',
        'part.type === "Replace"',
        "a Replace after the bytes is taken for one before",
      ],
      ["count: data.start", "count: 1", "a Strip of several characters takes one"],
      ["text.replaceAll(from, to)", "text.replace(from, to)", "only the first space of a token is shown"],
    ],
  ),
  ...inFile(
    "src/text/tokenizer.ts",
    [...beside("tokenizer"), ...beside("detokenizer")],
    [
      ["native.disableTruncation();", "", "a prompt is cut as the file's author had it"],
      ["native.disablePadding();", "", "a prompt is padded as the file's author had it"],
      ["if (!addSpecialTokens) return ids;", "", "special tokens are always added"],
      ["all.set(ids, before.length);", "all.set(ids);", "the text takes the place of BOS"],
      [
        "text.startsWith(token) && token.length >",
        "text.startsWith(token) && 0 <",
        "a special token that another begins with",
      ],
      ["await tokenizer.#check();", "", "a table that decodes wrongly is not noticed"],
      [
        "longest = Math.max(longest, offsets[id + 1]! - offsets[id]!)",
        "longest = Math.max(longest, 1)",
        "the longest token has one byte",
      ],
      ["{ wholeText: true, ...options }", "options", "a whole text is decoded as a continuation"],
    ],
  ),
  ...inFile(
    "src/text/pieces.ts",
    [...beside("pieces")],
    [
      ["const lead = start > 0 && rules.prefixes", "const lead = false", "a piece begins with a space of its own"],
      ["? lastWordBegins : ids.length", "? ids.length : ids.length", "a piece's last word is taken for whole"],
      ["(rules.joinsCharacters && joinsTo(text, offset))", "false", "a cut goes before a combining mark"],
      ["if (rules.sameWordsAnywhere) return 0;", "return 0;", "any word is cut"],
      ["return Number.POSITIVE_INFINITY;\n  }", "}", "a run is cut that may be part of a longer word"],
      ["if (signal?.aborted) throw", "if (false) throw", "an aborted request goes on being tokenised"],
      ["|| count > most)", ")", "a text is tokenised though it cannot fit"],
      ["if (text.length <= LONG_PIECE)", "if (true)", "long pieces take every thread"],
      ["length *= 2;", "length = text.length;", "one long word makes one piece of the text"],
    ],
  ),
  ...inFile("src/text/tokenizer-settings.ts", beside("tokenizer-folders"), [
    [
      "const isLegacy = config.added_tokens_decoder == null;",
      "const isLegacy = true;",
      "the older files are always read",
    ],
    ["map[name] ?? config[name]", "config[name] ?? map[name]", "special_tokens_map.json goes last"],
    [
      "!known.has(asKey(each))",
      "!present.some(({ content }) => content === each.content)",
      "a changed token stays as it was",
    ],
    ["Number(a) - Number(b)", "Number(b) - Number(a)", "tokens are added in another order"],
    ["special: each.special || special.has(each.content)", "special: each.special", "a named token is no special one"],
    ["if (byDefault === undefined) return { addBos: false, addEos: false };", "", "every class heeds add_bos_token"],
    ["add_bos_token ?? byDefault", "add_bos_token ?? false", "a class's default is not known"],
  ]),
  ...inFile("src/text/text-ends.ts", beside("tokenizer-folders"), [
    ["before.length > 0 ? before : ", "", "the post-processor's BOS is not read"],
    ["after.length > 0 ? after : asked(addEos, specialTokens.eos_token)", "after", "add_eos_token is not heard"],
  ]),
];
