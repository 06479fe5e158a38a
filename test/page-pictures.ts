#!/usr/bin/env bun
/**
 * Writes the pictures of the page in docs/: `bun test/page-pictures.ts`. The conversation and the numbers are those of SmolLM2 on this
 * machine (CONTRIBUTING.md says where it must be). Needs ./fgserve and Chromium.
 */
import * as path from "node:path";
import type { Browser } from "playwright-core";
import { launch, ready } from "./browser.ts";
import { model, startServer } from "./server.ts";

const docs = path.join(path.dirname(import.meta.dir), "docs");
const QUESTIONS = [
  "Give me three tips for clear documentation, each in one sentence.",
  "Write a hello world program in Python.",
];
const LOAD_SECONDS = 60;

const view = { viewport: { width: 1180, height: 800 }, reducedMotion: "reduce" } as const;

async function conversation(browser: Browser, url: string): Promise<void> {
  const page = await browser.newPage({ ...view, colorScheme: "light" });
  await page.goto(url);
  await ready(page);
  await page.click("#settings");
  await page.fill("#set-max_tokens", "170");
  await page.fill("#set-temperature", "0");
  await page.keyboard.press("Escape");
  for (const question of QUESTIONS) {
    await page.fill("#prompt", question);
    await page.press("#prompt", "Enter");
    await page.waitForSelector(".message:last-child[aria-busy=false] .pace", { timeout: 120_000 });
  }
  await page.mouse.move(600, 20);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: path.join(docs, `page-${colorScheme}.png`) });
  }
}

/** The server view while more and more requests run. */
async function serverView(browser: Browser, url: string): Promise<void> {
  const page = await browser.newPage({ ...view, colorScheme: "dark" });
  await page.goto(url);
  await ready(page);
  await page.click("#to-server");
  const end = performance.now() + LOAD_SECONDS * 1000;
  const ask = async (client: number) => {
    await Bun.sleep(client * 4000);
    while (performance.now() < end) {
      const messages = [{ role: "user", content: `${QUESTIONS[client % 2]} (${client})` }];
      const body = JSON.stringify({ messages, max_tokens: 60 + 20 * client });
      await (
        await fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          body,
          headers: { "content-type": "application/json" },
        })
      ).text();
    }
  };
  const clients = Array.from({ length: 10 }, (_, client) => ask(client));
  await Bun.sleep(LOAD_SECONDS * 1000 - 1000);
  await page.screenshot({ path: path.join(docs, "page-server.png") });
  await Promise.all(clients);
}

const server = await startServer(["--max-num-seqs", "8", "--served-model-name", "SmolLM2-135M-Instruct"], model);
const browser = await launch();
await conversation(browser, server.url);
await serverView(browser, server.url);
await browser.close();
await server.stop();
