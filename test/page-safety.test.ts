/** What the page does with texts that want to be more than texts, with keys, and with other servers. */
import { describe, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { FakeFastgen, startServer } from "../routes/testing.ts";
import { missing, type OpenPage, ready } from "./browser.ts";
import { usePages } from "./browser-tests.ts";

/** Each of these would call hit() somewhere. */
const ATTACKS = [
  "<img src=x onerror=hit()>",
  "<script>hit()</script>",
  "<svg onload=hit()><animate onbegin=hit() attributeName=x dur=1s></svg>",
  "[link](javascript:hit())",
  "[link](JaVaScRiPt:hit())",
  "[link](&#106;avascript:hit())",
  "[link](data:text/html,<script>hit()</script>)",
  "[link](vbscript:hit())",
  "![image](https://evil.example/pixel.png)",
  "![image](javascript:hit())",
  "[a]: javascript:hit()\n\n[a]",
  "<javascript:hit()>",
  '<a href="javascript:hit()" autofocus onfocus=hit()>x</a>',
  '<iframe srcdoc="<script>parent.hit()</script>"></iframe>',
  "<form action=https://evil.example><button autofocus>x</button></form>",
  "<style>@import 'https://evil.example/x.css';</style>",
  "<math><mtext><table><mglyph><style><img src onerror=hit()></style></mglyph></table></mtext></math>",
  '```"><img src=x onerror=hit()>\ncode\n```',
  "| a |\n| --- |\n| <img src=x onerror=hit()> |",
  '"><img src=x onerror=hit()>',
  "<link rel=stylesheet href=https://evil.example/x.css><base href=https://evil.example>",
];

/** Elements that only an attack could have made, and links that run code. */
async function planted(page: Page): Promise<string[]> {
  const elements =
    "main :is(img, script, iframe, form[action], style, link, math, object, embed), [onerror], [onload], [onfocus]";
  const links = await page
    .locator("main a")
    .evaluateAll((all) => all.map((a) => (a as unknown as { href: string }).href));
  return [
    ...(await page
      .locator(elements)
      .evaluateAll((all) => all.map((one) => (one as unknown as { outerHTML: string }).outerHTML))),
    ...links.filter((href) => !/^https?:\/\//.test(href)),
  ];
}

describe.skipIf(missing !== null)(`safety of the page (${missing ?? "Chromium"})`, () => {
  const { open, closeAfterwards } = usePages();
  /** Counts calls of hit(), wherever it is called from. */
  const watch = async ({ page }: OpenPage) => {
    let hits = 0;
    await page.exposeFunction("hit", () => hits++);
    page.on("dialog", (dialog) => {
      hits++;
      void dialog.dismiss();
    });
    return () => hits;
  };

  test("attacks in answers and in messages stay texts", async () => {
    const one = await open({ answer: "" });
    const { page, say, answered, script, errors, foreign } = one;
    const hits = await watch(one);
    for (const attack of ATTACKS) {
      script.answer = attack;
      await say(attack);
      await answered();
      await page.click("#new");
      await page.waitForSelector(".empty");
    }
    script.answer = ATTACKS.join("\n\n");
    await say(ATTACKS.join("\n\n"));
    await answered();
    expect(await page.locator(".message .markdown").textContent()).toContain("<img src=x onerror=hit()>");
    for (const link of await page.locator(".markdown a").all())
      expect(await link.getAttribute("rel")).toContain("noopener");
    expect(await planted(page)).toEqual([]);
    expect([hits(), errors, foreign]).toEqual([0, [], []]);
  });

  test("so do attacks in names: of the model, of a call, of a conversation", async () => {
    const attack = "<img src=x onerror=hit()>";
    const call = `<tool_call>\n{"name": "${attack}", "arguments": {"a": "${attack}"}}\n</tool_call>`;
    const one = await open({ answer: call }, { servedModelName: attack, toolCallParser: "hermes" });
    const { page, say, answered, errors, foreign } = one;
    const hits = await watch(one);
    await page.click("#settings");
    await page.fill("#set-tools", JSON.stringify([{ type: "function", function: { name: "x", parameters: {} } }]));
    await page.keyboard.press("Escape");
    await say(attack);
    await answered();
    expect(await page.locator("#title").textContent()).toBe(attack);
    expect(await page.locator("#history a").textContent()).toBe(attack);
    expect(await page.locator("#model option").allInnerTexts()).toEqual([attack]);
    expect(await page.locator(".assistant").textContent()).toContain(attack);
    await page.click("#to-server");
    await page.waitForSelector(".panel");
    expect(await page.locator("#server").textContent()).toContain(attack);
    expect(await planted(page)).toEqual([]);
    expect([hits(), errors, foreign]).toEqual([0, [], []]);
  });

  test("of a file, only what a conversation is made of is taken in; others are refused in words", async () => {
    const one = await open({ answer: "ok" });
    const { page, texts, errors, foreign } = one;
    const hits = await watch(one);
    const bring = async (content: string) => {
      const chooser = page.waitForEvent("filechooser");
      await page.click("#history-menu");
      await page.click("dialog >> text=Import");
      await (await chooser).setFiles({ name: "a.json", mimeType: "application/json", buffer: Buffer.from(content) });
      await page.waitForSelector("dialog:not(:has-text('Import conversations'))");
      const said = await page.locator("dialog h2").textContent();
      await page.keyboard.press("Escape");
      return said;
    };
    expect(await bring("{")).toContain("not an export");
    expect(await bring("[]")).toContain("not an export");
    expect(await bring('{"format": "fastgen-conversations", "version": 2, "conversations": []}')).toContain(
      "another version",
    );
    const attack = ATTACKS.join("\n\n");
    const messages = [
      { id: "a", parent: null, role: "user", content: attack },
      {
        id: "__proto__",
        parent: "a",
        role: "assistant",
        content: attack,
        model: attack,
        reasoning: attack,
        error: attack,
        end: "error",
        calls: [{ name: attack, arguments: attack }],
      },
      { id: "c", parent: "d", role: "user", content: "lost: its parent comes later" },
      { id: "d", parent: "c", role: "user", content: "lost: a circle" },
      {
        id: "e",
        parent: "__proto__",
        role: "<b>",
        content: { not: "text" },
        timing: { pace: "x", tokens: -1, first: "1" },
      },
      null,
      7,
    ];
    const file = `{"format": "fastgen-conversations", "version": 1, "conversations": [
      {"__proto__": {"polluted": true}, "id": "../x", "title": ${JSON.stringify(attack)}, "messages": ${JSON.stringify(messages)}, "leaf": "e",
       "settings": {"system": 5, "temperature": "0.5", "evil": "x"}}, null]}`;
    expect(await bring(file)).toBe("Imported: 2");
    await page.click("#history a[title^='<img']");
    await page.waitForSelector(".message.assistant");
    expect(await page.locator(".message").count()).toBe(3);
    expect((await texts()).join()).not.toContain("lost:");
    expect(await planted(page)).toEqual([]);
    await page.click("#settings");
    expect(await page.inputValue("#set-temperature")).toBe("0.5");
    expect(await page.inputValue("#set-system")).toBe("");
    expect([hits(), errors, foreign]).toEqual([0, [], []]);
  });

  test("the policy holds: no script of others, no other server, no markup out of texts", async () => {
    const { page, errors } = await open({ answer: "ok" });
    const other = await startServer(new FakeFastgen());
    closeAfterwards(other.stop);
    // What an attack could do if it ran: these run past the policy's rule for scripts, but not past its others.
    const attempts = await page.evaluate(async (url) => {
      const { document } = globalThis as unknown as { document: { body: { innerHTML: string } } };
      const says = async (run: () => unknown) => {
        try {
          await run();
          return "allowed";
        } catch (error) {
          return (error as Error).name;
        }
      };
      return [
        await says(() => fetch(`${url}/health`)),
        await says(() => fetch("https://evil.example")),
        await says(() => {
          document.body.innerHTML = "<b>x</b>";
        }),
      ];
    }, other.url);
    expect(attempts).toEqual(["TypeError", "TypeError", "TypeError"]);
    expect(errors.length).toBeGreaterThan(0);
    expect(other.accessLog).toEqual([]);
  });

  test("the key is asked for, and kept for the tab unless the reader wants it kept", async () => {
    const { page, say, answered, errors } = await open({ answer: "ok" }, { apiKey: "secret" });
    const stored = (kind: "localStorage" | "sessionStorage") =>
      page.evaluate((name) => JSON.stringify((globalThis as unknown as Record<string, object>)[name]), kind);
    expect(await page.locator("dialog .failure").textContent()).toContain("no API key");
    await page.fill("dialog input[type=password]", "wrong");
    await page.click("dialog >> text=Save");
    await page.waitForSelector("dialog .failure >> text=is wrong");
    await page.fill("dialog input[type=password]", "secret");
    await page.click("dialog >> text=Save");
    await page.waitForSelector("dialog", { state: "detached" });
    await ready(page);
    await say("Hi");
    await answered();
    expect(await stored("sessionStorage")).toContain("secret");
    expect(await stored("localStorage")).not.toContain("secret");
    await page.click("#servers");
    await page.check("dialog input[type=checkbox]");
    await page.click("dialog >> text=Save");
    await page.reload();
    await ready(page);
    expect(await page.locator("dialog").count()).toBe(0);
    expect(await stored("localStorage")).toContain("secret");
    expect(page.url()).not.toContain("secret");
    expect(errors).toEqual([]);
  });

  test("other servers: added by address, asked with their own keys, and gone again", async () => {
    const { page, say, answered, fake, errors } = await open({ answer: "first" }, { servedModelName: "one" });
    const fakes = new FakeFastgen({ answer: "second" });
    const other = await startServer(fakes, { servedModelName: "two", apiKey: "other key" });
    closeAfterwards(other.stop);
    await page.click("#servers");
    await page.fill("#new-server", "no address");
    await page.click("dialog button:text-is('Add')");
    expect(await page.locator("dialog .failure").textContent()).toContain("is not an address");
    await page.fill("#new-server", other.url.slice("http://".length));
    await page.click("dialog button:text-is('Add')");
    await page.waitForURL(/\?server=/);
    await page.waitForSelector("dialog .failure");
    await page
      .locator("dialog form", { hasText: String(other.port) })
      .locator("input[type=password]")
      .fill("other key");
    await page
      .locator("dialog form", { hasText: String(other.port) })
      .locator("text=Save")
      .click();
    await page.waitForSelector("#model option:has-text('two')", { state: "attached" });
    await page.selectOption("#model", { index: 1 });
    await say("Hi");
    await answered();
    expect(await page.locator(".markdown").textContent()).toBe("second");
    expect([fake.calls.length, fakes.calls.length]).toEqual([0, 1]);
    // The choice outlives the page, also where it is opened without the servers in its address.
    await page.goto(new URL("/", page.url()).href);
    await page.waitForURL(/\?server=/);
    await page.waitForSelector("#model option:has-text('two')", { state: "attached" });
    expect(await page.locator("#model").inputValue()).toContain("two");
    await page.click("#servers");
    await page.click("dialog [aria-label^='Remove']");
    await page.waitForURL((url) => url.search === "");
    await ready(page);
    expect(await page.locator("#model option").allInnerTexts()).toEqual(["one"]);
    expect(errors).toEqual([]);
  });
});
