/** The page in a real browser: Chromium, driven by playwright-core. */
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { PAGE } from "../routes/server/page.ts";
import type { ServiceOptions } from "../routes/service.ts";
import { FakeFastgen, type FakeOptions, startServer, type TestServer } from "../routes/testing.ts";
import { assetPath } from "../src/assets.ts";

const found = ["chromium", "chromium-browser", "google-chrome"].map((name) => Bun.which(name)).find((file) => file);

/** Why these tests cannot run, or null; for the names of skipped tests. */
export const missing = !found
  ? "needs Chromium: apt-get install chromium"
  : assetPath(PAGE) === null
    ? "needs the page: npm run build"
    : null;

/** A name of this machine that browsers take for another one's: what comes from there over HTTP may do less. */
export const OTHER_HOST = "gpu.example";

export function launch(): Promise<Browser> {
  // Containers often have neither user namespaces nor room in /dev/shm. The page comes from this test, also as one of OTHER_HOST.
  const args = ["--no-sandbox", "--disable-dev-shm-usage", `--host-resolver-rules=MAP ${OTHER_HOST} 127.0.0.1`];
  return chromium.launch({ executablePath: found!, args });
}

/** Waits until the page knows its models, or asks for a key. */
export async function ready(page: Page): Promise<void> {
  await page.waitForSelector("#model option:not(:has-text('No model')), dialog", { state: "attached" });
}

/** A page that is open, and what it did. */
export interface OpenPage {
  page: Page;
  server: TestServer;
  fake: FakeFastgen;
  /** What the fake answers: a test changes it between two messages. */
  script: FakeOptions;
  /** Errors of scripts, and what the page's policy has refused. */
  errors: string[];
  /** Addresses of requests that left for another host than the server. */
  foreign: string[];
  /** Writes a message and sends it. */
  say: (text: string) => Promise<void>;
  /** Waits until the last answer is whole. */
  answered: () => Promise<void>;
  /** The text of each message that is shown. */
  texts: () => Promise<string[]>;
  close: () => Promise<void>;
}

export async function openPage(
  browser: Browser,
  script: FakeOptions,
  options: Partial<ServiceOptions> = {},
  context: BrowserContextOptions = {},
): Promise<OpenPage> {
  const fake = new FakeFastgen(script);
  const server = await startServer(fake, { host: "127.0.0.1", ...options });
  const opened = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context });
  await opened.grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.url });
  const page = await opened.newPage();
  page.setDefaultTimeout(15_000);
  const errors: string[] = [];
  const foreign: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy|TrustedHTML/.test(message.text())) errors.push(message.text());
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== server.url && protocol !== "data:" && protocol !== "blob:") foreign.push(request.url());
  });
  await page.goto(`${server.url}/`);
  await ready(page);
  return {
    page,
    server,
    fake,
    script,
    errors,
    foreign,
    say: async (text) => {
      await page.fill("#prompt", text);
      await page.press("#prompt", "Enter");
    },
    answered: () => page.waitForSelector(".message:last-child[aria-busy=false] .figures > span").then(() => {}),
    texts: () => page.locator(".message .said, .message .markdown").allInnerTexts(),
    close: async () => {
      await opened.close();
      await server.stop();
    },
  };
}
