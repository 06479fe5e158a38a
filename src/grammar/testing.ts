/** A real vocabulary for the tests, and grammars compiled in their own thread. */
import * as path from "node:path";
import { Tokenizer } from "../text/tokenizer.ts";
import { newMatcher } from "./compile.ts";
import { Llguidance } from "./llguidance.ts";
import { Matcher } from "./matcher.ts";
import { GrammarTokenizer, type Vocabulary } from "./tokenizer.ts";

const root = path.dirname(path.dirname(import.meta.dir));

/** The vocabulary of a model's folder, and matchers of it. */
export class TestVocabulary {
  private constructor(
    readonly tokenizer: Tokenizer,
    readonly vocabulary: Vocabulary,
    private readonly grammarTokenizer = new GrammarTokenizer(Llguidance.open(), vocabulary),
  ) {}

  static async load(folder = path.join(root, "models/fastgen-tiny"), changes: Partial<Vocabulary> = {}) {
    const read = (name: string) => Bun.file(path.join(folder, name)).text();
    const tokenizerJson = await read("tokenizer.json");
    const tokenizer = await Tokenizer.load({ tokenizer: tokenizerJson });
    const { vocab_size, eos_token_id } = JSON.parse(await read("config.json"));
    const { table } = tokenizer;
    const stopIds: number[] = [eos_token_id].flat();
    return new TestVocabulary(tokenizer, { table, vocabSize: vocab_size, stopIds, tokenizerJson, ...changes });
  }

  get forces(): boolean {
    return this.grammarTokenizer.forces;
  }

  matcher(lark: string, seconds?: number): Matcher {
    return new Matcher(newMatcher(Llguidance.open(), this.grammarTokenizer.pointer, { lark }, seconds));
  }

  encode(text: string): Promise<Int32Array> {
    return this.tokenizer.encode(text, false);
  }
}
