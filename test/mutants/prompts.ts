/** Bugs planted between a prompt and its token ids, and between tokens and their places in a text. */
import { inFile, type PlantedBug } from "./bugs.ts";

const REQUESTS = ["src/generation/prompt-encoder.test.ts", "test/prompt-ids.test.ts", "test/request-fields.test.ts"];

export const promptBugs: PlantedBug[] = [
  ...inFile("src/generation/prompt-encoder.ts", REQUESTS, [
    ["part(Math.max(room, 1))", "part(room)", "a prompt without room is not cut at all"],
    ["part(Math.max(room, 1))", "part(this.limits)", "-1 is no number of tokens"],
    [
      "ids.slice(0, part.most) : ids.slice(-part.most)",
      "ids.slice(-part.most) : ids.slice(-part.most)",
      "the end is kept whatever side is cut",
    ],
    ["enough: fromStart ? most : null", "enough: most", "the last tokens of the first pieces pass for the text's end"],
    ["add_special_tokens ?? false", "add_special_tokens ?? true", "a conversation has BOS twice"],
    ["add_special_tokens ?? true", "add_special_tokens ?? false", "a text has no BOS"],
    [
      "ids.slice(-part.most), isWhole: false",
      "ids.slice(-part.most), isWhole: true",
      "offsets in a cut prompt are those of the whole text",
    ],
    [
      "fromStart ? whole.slice(0, characters) :",
      "false ? whole.slice(0, characters) :",
      "of a very long text the wrong end is tokenised",
    ],
    [
      "this.template.render(messages, chat, signal)",
      "this.template.render(messages, chat)",
      "an aborted request goes on being rendered",
    ],
    ["{ signal, most: enough", "{ most: enough", "an aborted request goes on being tokenised"],
    ["most: enough ?? undefined", "most: undefined", "a text is tokenised whole though its start is enough"],
    [
      "id !== null && tokenizer.isSpecial(id)",
      "id !== null",
      "a stop string that is a plain token is looked for among special ones",
    ],
    [
      'return isConversation(prompt) || isRendered(prompt) ? "messages" : "prompt"',
      'return "prompt"',
      "an error about messages names the prompt",
    ],
    ["Number.isInteger(wanted) && wanted > 0", "wanted >= 0", "truncate_prompt_tokens 0 keeps the whole prompt"],
    ["checkTextLength(text, tokenizer.longestToken, limits, field);", "", "a text that cannot fit is tokenised"],
  ]),
  ...inFile(
    "src/generation/text-offsets.ts",
    ["src/generation/text-offsets.test.ts", "test/request-fields.test.ts"],
    [
      [
        "code >= 0xdc00 && code <= 0xdfff",
        "code >= 0xd800 && code <= 0xdfff",
        "a character of two units counts as none",
      ],
      ["this.#characters += codePoints(piece)", "this.#characters += piece.length", "offsets count UTF-16 units"],
      ['if (isSpecial && !text.startsWith(piece, this.#units)) return "";', "", "BOS takes a place in the text"],
      ["isSpecial ? this.#tokenizer.tokenText(id) : this", "this", "a special token that the text has takes no place"],
      ["piece.slice(0, text.length - this.#units)", "piece", "the last token reaches past the text"],
      [
        "wholeText: true, skipSpecialTokens }",
        "wholeText: true, skipSpecialTokens: true }",
        "special tokens that are echoed take no place",
      ],
      ["{ wholeText: true, skip", "{ skip", "the space that a tokenizer adds takes a place"],
      [
        "this.#units += piece.length;",
        "this.#units += codePoints(piece);",
        "a special token after a wide character is not found in the text",
      ],
    ],
  ),
  ...inFile(
    "src/request/bad-words.ts",
    ["src/request/bad-words.test.ts"],
    [
      [" && spaced[0] !== bare[0]", "", "a space that is a token of its own forbids more than the word"],
      ["spaced.length === bare.length && ", "", "a longer form is forbidden though the bare one says it all"],
      ["word.trimStart()", "word", "a word with a space before it is forbidden after a space only"],
      [
        "JSON.stringify(words)",
        'words.join(" ")',
        "words of two requests that look alike when joined are taken for the same",
      ],
      ["if (bare.length === 0) return [];", "", "an empty word forbids the space"],
      ["[bare, spaced] : [bare]", "[spaced] : [bare]", "a word at the start of a text is free"],
      ["this.newest = { key, ids };", "", "every prompt of a request tokenises its bad words again"],
    ],
  ),
];
