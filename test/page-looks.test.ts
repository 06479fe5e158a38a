/** The page for everybody: without violations of axe-core, by keyboard alone, on a phone, and with a long answer. */
import { describe, expect, test } from "bun:test";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { missing } from "./browser.ts";
import { usePages } from "./browser-tests.ts";

/** Markdown of every kind. */
const RICH = `# Title

Some *text* with \`code\`, **more** and a [link](https://example.com).

## Part

1. one
2. two
   - inner

- [x] done
- [ ] to do

> A quotation.

| name | value |
| --- | ---: |
| a | 1 |

\`\`\`ts
const a = 1;
\`\`\`

---

The end.`;

const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

/** What axe-core finds wrong, each with the elements. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
  });
}

describe.skipIf(missing !== null)(`the page for everybody (${missing ?? "Chromium"})`, () => {
  const { open } = usePages();

  test.each([
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["on a phone", { colorScheme: "light", ...phone }],
    ["on a dark phone", { colorScheme: "dark", ...phone }],
  ] as const)("axe-core finds nothing: %s", async (_, context) => {
    const { page, say, answered, script } = await open(
      { answer: `<think>Hm.</think>\n\n${RICH}` },
      { reasoningParser: "qwen3" },
      context,
    );
    const isPhone = "isMobile" in context;
    const found: Record<string, string[]> = {};
    const look = async (where: string) => {
      found[where] = await violations(page);
    };
    await look("empty");
    await say("Show me everything");
    await answered();
    await page.locator(".thinking summary").click();
    await look("conversation");
    script.answer = "<think>";
    script.failAfter = 3;
    await say("And fail");
    await page.waitForSelector(".failure");
    await look("failure");
    for (const [button, name] of [
      ["#settings", "settings"],
      ["#servers", "servers"],
    ] as const) {
      await page.click(button);
      await look(name);
      await page.keyboard.press("Escape");
    }
    if (isPhone) await page.click("#menu");
    await look("history");
    await page.click("#history-menu");
    await look("menu");
    await page.keyboard.press("Escape");
    if (isPhone) await page.click("#menu");
    await page.click("#to-server");
    await page.waitForSelector(".chart path");
    expect(await page.locator("#title").textContent()).toBe("Server");
    await look("server");
    expect(found).toEqual(Object.fromEntries(Object.keys(found).map((where) => [where, []])));
    // Nothing is wider than the screen.
    const overflow = await page.evaluate(() => {
      const { documentElement } = (
        globalThis as unknown as { document: { documentElement: { scrollWidth: number; clientWidth: number } } }
      ).document;
      return documentElement.scrollWidth - documentElement.clientWidth;
    });
    expect(overflow).toBeLessThanOrEqual(0);
  });

  test("the colours are the system's, unless the reader chooses others", async () => {
    const { page } = await open({ answer: "ok" }, {}, { colorScheme: "dark" });
    const background = () =>
      page
        .locator("body")
        .evaluate(
          (body) =>
            (
              globalThis as unknown as { getComputedStyle: (e: unknown) => { backgroundColor: string } }
            ).getComputedStyle(body).backgroundColor,
        );
    const dark = await background();
    await page.click("#history-menu");
    await page.click("dialog >> text=Light");
    const light = await background();
    expect(light).not.toBe(dark);
    await page.reload();
    expect(await background()).toBe(light);
    await page.emulateMedia({ colorScheme: "light" });
    await page.click("#history-menu");
    await page.click("dialog >> text=As the system is");
    expect(await background()).toBe(light);
    await page.emulateMedia({ colorScheme: "dark" });
    expect(await background()).toBe(dark);
  });

  test("a keyboard is enough", async () => {
    const { page, answered, texts } = await open({ answer: "ok" });
    const focus = () => page.locator(":focus").evaluate((element) => (element as unknown as { id: string }).id);
    expect(await focus()).toBe("prompt");
    await page.reload();
    await page.waitForSelector(":focus");
    await page.keyboard.type("one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two");
    await page.keyboard.press("Enter");
    await answered();
    expect(await texts()).toEqual(["one\ntwo", "ok"]);
    // Buttons of a message can be reached, and are seen then.
    await page.locator(".message.user [aria-label=Edit]").focus();
    expect(
      await page
        .locator(".message.user [aria-label=Edit]")
        .evaluate(
          (button) =>
            (globalThis as unknown as { getComputedStyle: (e: unknown) => { opacity: string } }).getComputedStyle(
              button,
            ).opacity,
        ),
    ).toBe("1");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    expect(await page.locator(":focus").getAttribute("aria-label")).toBe("Edit");
    // Arrows from branch to branch keep the focus.
    await page.locator("[aria-label='Answer again']").focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(".branches >> text=2/2");
    await answered();
    await page.locator("[aria-label='Branch before']").focus();
    await page.keyboard.press("Enter");
    expect(await page.locator(":focus").getAttribute("aria-label")).toBe("Next branch");
    await page.keyboard.press("Alt+KeyS");
    await page.waitForSelector(".panel");
    await page.keyboard.press("Alt+KeyN");
    await page.waitForSelector(".empty");
    expect(await focus()).toBe("prompt");
    await page.locator("#settings").focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog");
    await page.keyboard.press("Escape");
    expect(await focus()).toBe("settings");
  });

  test("on a phone the history slides over the conversation and away again", async () => {
    const { page, say, answered } = await open({ answer: "ok" }, {}, phone);
    expect(await page.locator("#new").isVisible()).toBe(false);
    await say("Hi");
    await answered();
    await page.click("#menu");
    await page.waitForSelector("#new", { state: "visible" });
    await page.tap("#history a");
    await page.waitForSelector("#new", { state: "hidden" });
    expect(await page.getAttribute("#menu", "aria-expanded")).toBe("false");
  });

  test("a reader who scrolls up stays there while the answer grows, and can go back to its end", async () => {
    let sent = 0;
    const pace = () => (++sent % 5 === 0 ? Bun.sleep(1) : undefined);
    const { page, say } = await open({ answer: "A line of the answer.\n\n".repeat(2000), pace });
    await say("Long, please");
    await page.locator(".markdown p").nth(40).waitFor();
    await page.mouse.move(700, 400);
    await page.mouse.wheel(0, -400);
    await page.waitForSelector("#newest", { state: "visible" });
    const top = () =>
      page.locator("#scroll").evaluate((element) => (element as unknown as { scrollTop: number }).scrollTop);
    const before = await top();
    const count = await page.locator(".markdown p").count();
    await page
      .locator(".markdown p")
      .nth(count + 20)
      .waitFor();
    expect(await top()).toBe(before);
    await page.click("#newest");
    await page.waitForSelector("#newest", { state: "hidden" });
    expect(await top()).toBeGreaterThan(before);
  });

  test("10,000 tokens: a block that is whole is never drawn again, and the page answers meanwhile", async () => {
    // A token of the fake is one character, as of a real model four or five.
    const part = `${RICH}\n\n${"Some more words of a paragraph. ".repeat(20)}\n\n`;
    const answer = part.repeat(Math.ceil(45_000 / part.length));
    let sent = 0;
    const { page, say, answered, errors } = await open({
      answer,
      pace: () => (++sent % 50 === 0 ? Bun.sleep(1) : undefined),
    });
    await page.evaluate(watchDrawing);
    await say("Long, please");
    await page.locator(".markdown .heading.h1").nth(1).waitFor();
    await page
      .locator(".markdown .heading.h1")
      .first()
      .evaluate((block) => block.setAttribute("data-first", ""));
    await page.fill("#prompt", "typed meanwhile");
    await page
      .locator(".figures", { hasText: `${answer.length.toLocaleString("en-US")} tokens` })
      .waitFor({ timeout: 60_000 });
    await answered();
    expect(await page.inputValue("#prompt")).toBe("typed meanwhile");
    const blocks = await page.locator(".markdown > *").count();
    const { drawn, gaps } = await page.evaluate(() => (globalThis as unknown as Drawing).drawing);
    console.log(`10,000 tokens: ${blocks} blocks, ${drawn} drawn; longest times between frames: ${gaps.join(", ")} ms`);
    expect(blocks).toBeGreaterThan(500);
    expect(drawn).toBeGreaterThan(blocks);
    // A block is drawn while it grows, and only then.
    expect(drawn).toBeLessThan(10 * blocks);
    expect(await page.locator("[data-first]").count()).toBe(1);
    expect(errors).toEqual([]);
  });
});

interface Drawing {
  /** Blocks that were made, and the five longest times between two frames in milliseconds. */
  drawing: { drawn: number; gaps: number[] };
}

/** Runs in the page: counts what is drawn there from now on. */
function watchDrawing(): void {
  type Records = { target: { className: string }; addedNodes: unknown[] }[];
  const scope = globalThis as unknown as Drawing & {
    MutationObserver: new (see: (records: Records) => void) => { observe: (element: unknown, options: object) => void };
    document: { getElementById: (id: string) => unknown };
    requestAnimationFrame: (draw: (time: number) => void) => void;
  };
  scope.drawing = { drawn: 0, gaps: [] };
  new scope.MutationObserver((records) => {
    for (const { target, addedNodes } of records)
      if (target.className === "markdown") scope.drawing.drawn += addedNodes.length;
  }).observe(scope.document.getElementById("messages"), { childList: true, subtree: true });
  let last = 0;
  const frame = (time: number) => {
    if (last > 0)
      scope.drawing.gaps = [...scope.drawing.gaps, Math.round(time - last)].sort((a, b) => b - a).slice(0, 5);
    last = time;
    scope.requestAnimationFrame(frame);
  };
  scope.requestAnimationFrame(frame);
}
