/** Conversations on the page, in a real browser: what is written, stopped, edited, kept, exported and imported. */
import { describe, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { missing, OTHER_HOST, ready } from "./browser.ts";
import { usePages } from "./browser-tests.ts";
import { missing as executableMissing, startServer } from "./server.ts";

/** Waits until the last answer has some words. */
const grown = (page: Page) => page.locator(".message:last-child .markdown", { hasText: /(\w+ ){5}/ }).waitFor();

describe.skipIf(missing !== null)(`conversations on the page (${missing ?? "Chromium"})`, () => {
  const { open, newPage } = usePages(({ errors, foreign }) => {
    expect(errors).toEqual([]);
    expect(foreign).toEqual([]);
  });

  test("a conversation: the model is told all of it, answers come as Markdown with their figures", async () => {
    const { page, say, answered, texts, fake, script } = await open({ answer: "**Hello** `there`." });
    await say("Hi");
    await answered();
    expect(await page.locator(".markdown strong").textContent()).toBe("Hello");
    expect(await page.locator(".markdown code").textContent()).toBe("there");
    expect(await page.locator(".assistant .figures").textContent()).toMatch(
      /^18 tokens[\d.,]+ tokens\/sfirst after \d+ ms/,
    );
    script.answer = "Again\nand again.";
    await say("And\nnow?");
    await answered();
    expect(await texts()).toEqual(["Hi", "Hello there.", "And\nnow?", "Again\nand again."]);
    const { messages } = fake.calls.at(-1)!.prompt as { messages: object[] };
    expect(messages).toEqual([
      { role: "user", content: "Hi" },
      { role: "assistant", content: "**Hello** `there`." },
      { role: "user", content: "And\nnow?" },
    ]);
    expect(await page.title()).toBe("Fastgen");
    expect(await page.locator("#title").textContent()).toBe("Hi");
    expect(await page.locator("#history a").allInnerTexts()).toEqual(["Hi"]);
  });

  test("an answer is shown while it is written; Stop and Escape end it, also in the engine", async () => {
    const { page, say, texts, fake } = await open({ answer: "word ".repeat(1000), pace: () => Bun.sleep(2) });
    for (const stop of [() => page.click("#send[aria-label=Stop]"), () => page.keyboard.press("Escape")]) {
      await say("Write");
      await grown(page);
      await stop();
      await page.waitForSelector(".message:last-child .ended");
      expect(await page.locator(".message:last-child .ended").textContent()).toBe("You stopped this answer.");
      expect((await texts()).at(-1)).toMatch(/^word word/);
      await page.waitForSelector("#send[aria-label=Send]");
      const call = fake.calls.at(-1)!;
      for (let i = 0; i < 100 && !call.aborted; i++) await Bun.sleep(10);
      expect(call.aborted).toBe(true);
    }
  });

  test("an edit and another answer are branches, and one can go back to each", async () => {
    const { page, say, answered, texts, script, fake } = await open({ answer: "one" });
    await say("first");
    await answered();
    script.answer = "two";
    await page.click(".message:last-child [aria-label='Answer again']");
    await answered();
    expect(await texts()).toEqual(["first", "two"]);
    expect(await page.locator(".branches").textContent()).toContain("2/2");
    await page.click("[aria-label='Branch before']");
    expect(await texts()).toEqual(["first", "one"]);
    await page.hover(".message.user");
    await page.click(".message.user [aria-label=Edit]");
    script.answer = "three";
    await page.fill(".edit textarea", "second");
    await page.keyboard.press("Enter");
    await answered();
    expect(await texts()).toEqual(["second", "three"]);
    expect(fake.calls.at(-1)!.prompt).toMatchObject({ messages: [{ role: "user", content: "second" }] });
    await page.click(".message.user [aria-label='Branch before']");
    // A branch is shown down to its newest end.
    expect(await texts()).toEqual(["first", "two"]);
    await page.hover(".message.user");
    await page.click(".message.user [aria-label='Delete from here']");
    await page.click("dialog .danger");
    expect(await texts()).toEqual(["second", "three"]);
    expect(await page.locator(".branches").count()).toBe(0);
  });

  test("the history outlives the page; an answer that it was closed in is kept as far as it came", async () => {
    const { page, say, answered, texts, script } = await open({ answer: "kept" });
    await say("Remember");
    await answered();
    script.answer = "slow ".repeat(1000);
    script.pace = () => Bun.sleep(2);
    await say("More");
    await grown(page);
    await page.waitForTimeout(1200);
    await page.reload();
    await page.waitForSelector(".message:last-child .ended");
    expect((await texts()).slice(0, 3)).toEqual(["Remember", "kept", "More"]);
    expect((await texts()).at(-1)).toMatch(/^slow slow/);
    expect(await page.locator(".ended").textContent()).toContain("closed before");
    await page.click("#new");
    await page.waitForSelector(".empty");
    await page.click("#history a");
    await page.waitForSelector(".message.assistant");
    expect((await texts())[0]).toBe("Remember");
    await page.hover("#history li");
    await page.click("#history [aria-label^=More]");
    await page.click("dialog >> text=Rename");
    await page.fill("dialog input", "Other name");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#history >> text=Other name");
    await page.hover("#history li");
    await page.click("#history [aria-label^=More]");
    await page.click("dialog >> text=Delete");
    await page.click("dialog .danger");
    await page.waitForSelector("#history >> text=kept in this browser");
    await page.reload();
    expect(await page.locator("#history a").count()).toBe(0);
  });

  test("what is exported can be imported, branches, settings and all", async () => {
    const { page, say, answered, texts, script } = await open({ answer: "one" });
    await page.click("#settings");
    await page.fill("#set-system", "Be brief");
    await page.fill("#set-temperature", "0.25");
    await page.keyboard.press("Escape");
    await say("first");
    await answered();
    script.answer = "two";
    await page.click(".message:last-child [aria-label='Answer again']");
    await answered();
    const download = page.waitForEvent("download");
    await page.click("#history-menu");
    await page.click("dialog >> text=Export all");
    const file = await (await download).path();
    const exported = await Bun.file(file).json();
    expect(exported).toMatchObject({ format: "fastgen-conversations", conversations: [{ title: "first" }] });
    const other = await open({ answer: "three" });
    const chooser = other.page.waitForEvent("filechooser");
    await other.page.click("#history-menu");
    await other.page.click("dialog >> text=Import");
    await (await chooser).setFiles({
      name: "a.json",
      mimeType: "application/json",
      buffer: Buffer.from(JSON.stringify(exported)),
    });
    await other.page.waitForSelector("dialog >> text=Imported: 1");
    await other.page.keyboard.press("Escape");
    await other.page.click("#history a");
    await other.page.waitForSelector(".message.assistant");
    expect(await other.texts()).toEqual(await texts());
    await other.page.click("[aria-label='Branch before']");
    expect(await other.texts()).toEqual(["first", "one"]);
    await other.say("go on");
    await other.answered();
    const { prompt, params } = other.fake.calls.at(-1)!;
    expect((prompt as { messages: object[] }).messages[0]).toEqual({ role: "system", content: "Be brief" });
    expect(params.temperature).toBe(0.25);
  });

  test("settings reach the server, and what it refuses is told where it happened", async () => {
    const { page, say, fake } = await open({ answer: '{"a": [1, true]}' });
    await page.click("#settings");
    const fields = { top_p: "0.9", top_k: "5", max_tokens: "50", seed: "7", stop: "END\n###" };
    for (const [name, value] of Object.entries(fields)) await page.fill(`#set-${name}`, value);
    await page.selectOption("#set-thinking", "off");
    await page.keyboard.press("Escape");
    await say("JSON, please");
    await page.waitForSelector(".message:last-child .code");
    expect(await page.locator(".message:last-child pre").textContent()).toBe('{\n  "a": [\n    1,\n    true\n  ]\n}');
    expect(fake.calls.at(-1)!.params).toMatchObject({
      top_p: 0.9,
      top_k: 5,
      max_tokens: 50,
      seed: 7,
      stop: ["END", "###"],
    });
    expect(fake.calls.at(-1)!.prompt).toMatchObject({ chat_template_kwargs: { enable_thinking: false } });
    await page.click("#settings");
    await page.fill("#set-top_p", "3");
    await page.keyboard.press("Escape");
    await say("And again");
    await page.waitForSelector(".message:last-child .failure");
    expect(await page.locator(".failure").textContent()).toContain("top_p");
  });

  test("reasoning is folded; calls are shown as JSON, and their results go back to the model", async () => {
    const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>';
    const { page, say, answered, script, fake } = await open(
      { answer: `<think>Hm, *where*?</think>\n\n${call}` },
      { reasoningParser: "qwen3", toolCallParser: "hermes" },
    );
    const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
    await page.click("#settings");
    await page.fill("#set-tools", JSON.stringify(tools));
    await page.keyboard.press("Escape");
    await say("Weather?");
    await answered();
    expect(await page.locator(".thinking div").isVisible()).toBe(false);
    expect(await page.locator(".thinking summary").textContent()).toMatch(/^Thought for [\d.]+ s$/);
    await page.click(".thinking summary");
    expect(await page.locator(".thinking div").textContent()).toBe("Hm, *where*?");
    expect(await page.locator(".call pre").textContent()).toBe('{\n  "city": "Köln"\n}');
    script.answer = "</think>It rains.";
    await page.fill(".call textarea", '{"rain": true}');
    await page.click("text=Send the result");
    await page.waitForSelector(".message.assistant:last-child .markdown:has-text('It rains.')");
    expect((await page.locator(".message.result .code").boundingBox())!.width).toBeGreaterThan(400);
    const { messages } = fake.calls.at(-1)!.prompt as { messages: Record<string, unknown>[] };
    expect(messages.at(-1)).toMatchObject({ role: "tool", content: '{"rain": true}' });
    expect(messages.at(-1)!.tool_call_id).toBe((messages.at(-2)!.tool_calls as { id: string }[])[0]!.id);
  });

  test("a conversation that is deleted while it is answered is gone, and so is its answer", async () => {
    const { page, say, fake } = await open({ answer: "word ".repeat(1000), pace: () => Bun.sleep(2) });
    await say("Write");
    await grown(page);
    await page.hover("#history li");
    await page.click("#history [aria-label^=More]");
    await page.click("dialog >> text=Delete");
    await page.click("dialog .danger");
    await page.waitForSelector(".empty");
    const call = fake.calls.at(-1)!;
    for (let i = 0; i < 200 && !call.aborted; i++) await Bun.sleep(10);
    expect(call.aborted).toBe(true);
    await page.reload();
    await ready(page);
    expect(await page.locator("#history a").count()).toBe(0);
  });

  test("a setting that cannot be read is told, and nothing is sent or lost", async () => {
    const { page, say, fake } = await open({ answer: "ok" });
    await page.click("#settings");
    await page.fill("#set-tools", "[{");
    await page.keyboard.press("Escape");
    await say("Hi");
    expect(await page.locator("#notice").textContent()).toContain("the list of tools is not JSON");
    expect(await page.inputValue("#prompt")).toBe("Hi");
    expect(fake.calls).toEqual([]);
  });

  test("it works over plain HTTP from another machine, where browsers allow less", async () => {
    const options = { allowedHosts: [OTHER_HOST], allowedOrigins: ["*"] };
    const { page, say, answered, server, foreign } = await open({ answer: "```\ncode\n```" }, options);
    await page.goto(`http://${OTHER_HOST}:${server.port}/`);
    expect(await page.evaluate(() => (globalThis as unknown as { isSecureContext: boolean }).isSecureContext)).toBe(
      false,
    );
    await ready(page);
    await say("Hi");
    await answered();
    await page.click(".code .copy");
    await page.waitForSelector(".copy[data-done]");
    await page.fill("#prompt", "");
    await page.press("#prompt", "Control+v");
    expect(await page.inputValue("#prompt")).toBe("code");
    foreign.length = 0;
  });

  test.skipIf(executableMissing !== null)(
    `the executable serves it (${executableMissing ?? "built-in model"})`,
    async () => {
      const server = await startServer([], null);
      const page = await newPage();
      await page.goto(`${server.url}/`);
      await ready(page);
      await page.fill("#prompt", "hello");
      await page.press("#prompt", "Enter");
      await page.waitForSelector(".message:last-child[aria-busy=false] .figures > span");
      expect(await page.locator(".message:last-child .markdown").textContent()).toMatch(/Tiny|Hello|Hi/);
      await page.click("#to-server");
      await page.waitForSelector(".panel >> text=Tokens generated");
      expect(await page.locator(".panel dd").nth(2).textContent()).toMatch(/^[1-9]/);
      await page.close();
      await server.stop();
      const bare = await startServer(["--no-ui"], null);
      expect((await fetch(`${bare.url}/`)).status).toBe(404);
      await bare.stop();
    },
  );
});
