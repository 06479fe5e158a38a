#!/usr/bin/env bun
/** Writes docs/flags.md: every flag of all tools with its default, as --help tells them. */
import { writeFileSync } from "node:fs";
import * as path from "node:path";
import { Command, type Option } from "commander";
import { command as batch } from "../cli/batch.ts";
import { command as chat } from "../cli/chat.ts";
import { addModelFlags } from "../cli/flags.ts";
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
  const fallback = inWords ?? (option.defaultValue === undefined ? "" : String(option.defaultValue));
  const choices = option.argChoices ? `; one of ${option.argChoices.join(", ")}` : "";
  const variable = option.envVar ? `; or $${option.envVar}` : "";
  return { long: option.long!, usage: option.flags, fallback, text: `${text}${choices}${variable}` };
}

function table(rows: FlagRow[]): string {
  const cell = (content: string) => content.replaceAll("|", "\\|");
  const lines = rows.map(({ usage, fallback, text }) => `| \`${cell(usage)}\` | ${cell(fallback)} | ${cell(text)} |`);
  return ["| flag | default | |", "| --- | --- | --- |", ...lines].join("\n");
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
`;
}

if (import.meta.main) writeFileSync(PAGE, flagsPage());
