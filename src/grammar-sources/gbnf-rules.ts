/**
 * GBNF's rules as Lark's. GBNF knows characters alone, Lark knows terminals: texts that are read to their end before the next
 * one begins. So every run of parts that does not lead back to itself becomes one terminal, and a grammar without recursion
 * becomes one as a whole: there is no end within it that could be read too late. Beside a rule that leads back to itself, a
 * run is read as far as it goes: what follows it must begin with what it cannot go on with.
 */
import { type Gbnf, type Part, parseGbnf } from "./gbnf.ts";

/** Lark rules, the first of which is `ruleName`; the others' names begin with it. */
export function gbnfRules(text: string, ruleName: string): string {
  return new Writer(parseGbnf(text), ruleName).all();
}

class Writer {
  readonly #gbnf: Gbnf;
  readonly #ruleName: string;
  /** By rule: whether it is a terminal; null while that is being found out. */
  readonly #isTerminal = new Map<string, boolean | null>();
  readonly #names = new Map<string, string>();
  readonly #lines: string[] = [];
  #runs = 0;

  constructor(gbnf: Gbnf, ruleName: string) {
    this.#gbnf = gbnf;
    this.#ruleName = ruleName;
  }

  all(): string {
    const root = this.#reference({ kind: "rule", name: "root", at: 0 });
    return [`${this.#ruleName}: ${root}`, ...this.#lines].join("\n");
  }

  /** The Lark name of a rule, which is written where it is first asked for. */
  #reference({ name, at }: Part & { kind: "rule" }): string {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const part = this.#gbnf.rules.get(name);
    if (!part) return this.#gbnf.refuseAt(at, `there is no rule ${name}`);
    const plain = `${this.#ruleName}_${this.#names.size}_${name.replaceAll(/[^A-Za-z0-9]/g, "_")}`;
    const isTerminal = this.#ends(name);
    const own = isTerminal ? plain.toUpperCase() : plain.toLowerCase();
    this.#names.set(name, own);
    const index = this.#lines.push("") - 1;
    this.#lines[index] = `${own}: ${isTerminal ? this.#terminal(part) : this.#body(part)}`;
    return own;
  }

  /** Whether a rule leads to no recursion. */
  #ends(name: string): boolean {
    const known = this.#isTerminal.get(name);
    if (known !== undefined) return known ?? false;
    this.#isTerminal.set(name, null);
    const part = this.#gbnf.rules.get(name);
    const ends = part === undefined || this.#isRegular(part);
    this.#isTerminal.set(name, ends);
    return ends;
  }

  #isRegular(part: Part): boolean {
    switch (part.kind) {
      case "terminal":
        return true;
      case "rule":
        return this.#ends(part.name);
      case "repeat":
        return this.#isRegular(part.part);
      default:
        return part.parts.every((inner) => this.#isRegular(inner));
    }
  }

  /** A regular part, as what stands in a terminal. */
  #terminal(part: Part): string {
    switch (part.kind) {
      case "terminal":
        return part.lark;
      case "rule":
        return this.#reference(part);
      case "repeat":
        return repeated(this.#terminal(part.part), part);
      case "sequence":
        return part.parts.length === 0 ? '""' : `(${part.parts.map((inner) => this.#terminal(inner)).join(" ")})`;
      case "choice":
        return `(${part.parts.map((inner) => this.#terminal(inner)).join(" | ")})`;
    }
  }

  /** A part that is or holds a recursive rule, or a regular one among its like. */
  #body(part: Part): string {
    if (this.#isRegular(part)) return this.#run(part);
    switch (part.kind) {
      case "rule":
        return this.#reference(part);
      case "repeat":
        return repeated(this.#body(part.part), part);
      case "choice":
        return `(${part.parts.map((inner) => this.#body(inner)).join(" | ")})`;
      default:
        return `(${this.#sequence((part as Part & { kind: "sequence" }).parts)})`;
    }
  }

  #sequence(parts: Part[]): string {
    const out: string[] = [];
    let run: Part[] = [];
    const endRun = () => {
      if (run.length > 0) out.push(this.#run(run.length === 1 ? run[0]! : { kind: "sequence", parts: run }));
      run = [];
    };
    for (const part of parts) {
      if (this.#isRegular(part)) run.push(part);
      else {
        endRun();
        out.push(this.#body(part));
      }
    }
    endRun();
    return out.join(" ");
  }

  /** A terminal of its own for regular parts that follow each other. */
  #run(part: Part): string {
    if (part.kind === "rule") return this.#reference(part);
    if (part.kind === "terminal") return part.lark;
    const name = `${this.#ruleName}_RUN_${this.#runs++}`.toUpperCase();
    const terminal = this.#terminal(part);
    this.#lines.push(`${name}: ${terminal}`);
    return name;
  }
}

function repeated(lark: string, { least, most }: Part & { kind: "repeat" }): string {
  if (most === 0) return '""';
  if (least === 1 && most === 1) return lark;
  // A repetition of a repetition needs brackets.
  const inner = /[*+?}]$/.test(lark) ? `(${lark})` : lark;
  if (most === null) return least === 0 ? `${inner}*` : least === 1 ? `${inner}+` : `${inner}{${least},}`;
  return least === 0 && most === 1 ? `${inner}?` : `${inner}{${least},${most}}`;
}
