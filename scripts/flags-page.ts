#!/usr/bin/env bun
/** Writes docs/flags.md: every flag of all tools with its default, as --help tells them. */
import { writeFileSync } from "node:fs";
import * as path from "node:path";
import { Command, type Option } from "commander";
import { command as batch } from "../cli/batch.ts";
import { command as chat } from "../cli/chat.ts";
import { addModelFlags } from "../cli/flags.ts";
import { MODEL, OTHER_NAMES, REFUSED, SWITCHES, VALUED } from "../cli/other-flags.ts";
import { command as serve } from "../cli/serve.ts";

export const PAGE = path.join(path.dirname(import.meta.dir), "docs", "flags.md");

export interface FlagRow {
  /** --port */
  long: string;
  /** --port <n> */
  usage: string;
  /** As a user would write it, or in words; "" for a flag that is off. */
  fallback: string;
  text: string;
}

/** The flags that a command's help shows. */
export function flagRows(command: Command): FlagRow[] {
  return command.options.filter(({ hidden, long }) => !hidden && long !== "--version").map(row);
}

function row(option: Option): FlagRow {
  // A default that depends on something else stands in the description, in words.
  const [, text, inWords] = /^(.*?)(?: \(default: (.*)\))?$/s.exec(option.description)!;
  const fallback = inWords ?? option.defaultValueDescription ?? String(option.defaultValue ?? "");
  const choices = option.argChoices ? `; one of ${option.argChoices.join(", ")}` : "";
  const variable = option.envVar ? `; or $${option.envVar}` : "";
  return { long: option.long!, usage: option.flags, fallback, text: `${text}${choices}${variable}` };
}

function table(rows: FlagRow[]): string {
  const cell = (content: string) => content.replaceAll("|", "\\|");
  const lines = rows.map(({ usage, fallback, text }) => `| \`${cell(usage)}\` | ${cell(fallback)} | ${cell(text)} |`);
  return ["| flag | default | |", "| --- | --- | --- |", ...lines].join("\n");
}

/** Flags of other servers, as a list of names. */
function named(flags: Iterable<string>): string {
  return [...flags].map((flag) => `\`${flag}\``).join(", ");
}

function otherFlags(): string {
  const renamed = [...OTHER_NAMES].map(([other, own]) => `| \`${other}\` | \`${own}\` |`);
  const advice = [...REFUSED].map(([flag, text]) => `| \`${flag}\` | ${text} |`);
  return `## Flags of vLLM, SGLang and llama-server

A command line written for one of them works where it can: long flags may have underscores, \`--max-model-len\` may be \`32k\` (32,000) or
\`auto\`, the model may be given as ${named(MODEL)}, and more names after \`--served-model-name\` are taken, as requests may have any.

| theirs | here |
| --- | --- |
${renamed.join("\n")}

Nothing here depends on these; a line at the start says so: ${named([...SWITCHES, ...VALUED])}.

These are refused, unless their value is what happens anyway:

| flag | what to do |
| --- | --- |
${advice.join("\n")}
`;
}

/** The whole page. */
export function flagsPage(): string {
  const shared = flagRows(addModelFlags(new Command()));
  const own = (command: Command) =>
    flagRows(command).filter(({ long }) => !shared.some((other) => other.long === long));
  return `# Flags

Every flag of \`fgserve\`, \`fgchat\` and \`fgbatch\` with its default, as \`--help\` tells them. \`bun scripts/flags-page.ts\` writes this page.
\`4G\` means 4 GiB.

## fgserve

${table(own(serve()))}

## fgchat

${table(own(chat()))}

## fgbatch

${table(own(batch()))}

## All: how the model is loaded

${table(shared)}

${otherFlags()}`;
}

if (import.meta.main) writeFileSync(PAGE, flagsPage());
