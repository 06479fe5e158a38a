/** fgchat in a terminal and in a pipe, with a scripted backend. test/chat-model.test.ts does the same with a real model. */
import { afterEach, expect, test } from "bun:test";
import * as path from "node:path";
import { startInTerminal, type TerminalProgram } from "./terminal.ts";

const script = [process.execPath, path.join(import.meta.dir, "fixtures/chat-script.ts")];
let program: TerminalProgram | null = null;
afterEach(() => program?.kill());

async function chat(): Promise<TerminalProgram> {
  program = startInTerminal(script);
  await program.see("1> ");
  return program;
}

/** What was shown, without the line editor's cursor movements, and with NN in place of speeds, which differ from run to run. */
const plain = (text: string) =>
  Bun.stripANSI(text)
    .replaceAll("\r", "")
    .replace(/[\d.]+toks/g, "NNtoks");

test("a session looks exactly like this transcript", async () => {
  const terminal = await chat();
  terminal.type("hello\r");
  await terminal.see("2> ");
  terminal.type("/q\r");
  expect(await terminal.exited).toBe(0);
  expect(terminal.shown).toContain("\x1b[32mReady to chat!\x1b[0m");
  expect(terminal.shown).toMatch(/--- \[2 tokens, \d+\.\d{3}toks\/s\]/);
  expect(plain(terminal.shown)).toBe(`Ready to chat!
  Available commands:
    /r <N> -- reset conversation before round N
    /m     -- input a multiline message, end your input
              with a single line containing '.'
    /help  -- list the commands
    /q     -- quit

---
1> hello
You said: "hello" (1 messages)
--- [2 tokens, NNtoks/s]
2> /q
`);
});

test("/r forgets rounds; a wrong number is refused; Ctrl-D leaves", async () => {
  const terminal = await chat();
  for (const [i, question] of ["a", "b", "c"].entries()) {
    terminal.type(`${question}\r`);
    await terminal.see(`${i + 2}> `);
  }
  for (const bad of ["/r 5", "/r 0", "/r", "/r x", "/x", "/q now"]) {
    terminal.type(`${bad}\r`);
    await terminal.see("invalid command");
    await terminal.see("4> ");
  }
  terminal.type("/r 2\r");
  await terminal.see("2> ");
  terminal.type("again\r");
  await terminal.see('"again" (3 messages)');
  await terminal.see("3> ");
  terminal.type("\x04");
  await terminal.see("^D");
  expect(await terminal.exited).toBe(0);
});

test("/help lists the commands", async () => {
  const terminal = await chat();
  terminal.type("/help\r");
  await terminal.see("/m     -- input a multiline message");
  await terminal.see("1> ");
});

test("several pasted lines are one message, which can be edited before it is sent", async () => {
  const terminal = await chat();
  expect(terminal.shown).toContain("\x1b[?2004h");
  // The marks come in any pieces.
  terminal.type("say \x1b[200~one\r\n\ttwo\x03\r/q\x1b[20");
  await terminal.see("one⏎    two⏎/q");
  terminal.type("1~!\r");
  await terminal.see('"say one\\n    two\\n/q!" (1 messages)');
  await terminal.see("2> ");
  terminal.type("/exit\r");
  expect(await terminal.exited).toBe(0);
  expect(terminal.shown).toContain("\x1b[?2004l");
});

test("/m takes several lines, and Ctrl-C discards them", async () => {
  const terminal = await chat();
  terminal.type("/m\r");
  await terminal.see("1>> ");
  terminal.type("one\rtwo\r\r.\r");
  await terminal.see('"one\\ntwo\\n"');
  await terminal.see("2> ");
  terminal.type("/m\r");
  await terminal.see("2>> ");
  terminal.type("half\r");
  await terminal.see("2>> ");
  terminal.type("\x03");
  await terminal.see("2> ");
});

test("Ctrl-C stops the answer but not the program; what was typed meanwhile is kept", async () => {
  const terminal = await chat();
  terminal.type("endless\r");
  await terminal.see("......");
  terminal.type("typed ahead");
  await Bun.sleep(50);
  terminal.type("\x03");
  await terminal.see("toks/s]");
  await terminal.see("2> ");
  await terminal.see("typed ahead");
  terminal.type("\r");
  await terminal.see('"typed ahead" (3 messages)');
});

test("Ctrl-C clears a line; at an empty prompt, the second one leaves", async () => {
  const terminal = await chat();
  terminal.type("begun");
  await terminal.see("begun");
  terminal.type("\x03");
  await terminal.see("1> ");
  terminal.type("\x03");
  await terminal.see("leaves");
  await terminal.see("1> ");
  terminal.type("\x03");
  expect(await terminal.exited).toBe(130);
});

test("the arrow keys bring earlier lines back", async () => {
  const terminal = await chat();
  terminal.type("first\r");
  await terminal.see("2> ");
  terminal.type("second\r");
  await terminal.see("3> ");
  terminal.type("\x1b[A\x1b[A");
  await terminal.see("first");
  terminal.type("!\r");
  await terminal.see('"first!" (5 messages)');
});

test("an error and a full context say what to do, and the chat goes on", async () => {
  const terminal = await chat();
  terminal.type("fill\r");
  await terminal.see("context of 1000 tokens is full");
  await terminal.see("2> ");
  terminal.type("fail\r");
  await terminal.see("the prompt is too long");
  await terminal.see("/r <N> makes room");
  await terminal.see("2> ");
  terminal.type("escape\r");
  await terminal.see("a[2Jbc");
});

test("a first token that is long in coming is waited for with a word, which goes when it is there", async () => {
  const terminal = await chat();
  terminal.type("long\r");
  await terminal.see("(no token yet after ");
  await terminal.see(" s; Ctrl-C gives up)\r\x1b[KYou said:");
  await terminal.see("2> ");
});

test("questions from a pipe", async () => {
  const child = Bun.spawn(script, {
    stdin: new Blob(["hello\n/m\nx\ny\n.\n\nlast without a line break"]),
    stdout: "pipe",
  });
  const output = await child.stdout.text();
  expect(await child.exited).toBe(0);
  expect(plain(output.slice(output.indexOf("---\n")))).toBe(`---
1> hello
You said: "hello" (1 messages)
--- [2 tokens, NNtoks/s]
2> /m
2>> x
2>> y
2>> .
You said: "x\\ny" (3 messages)
--- [2 tokens, NNtoks/s]
${"3> "}
3> last without a line break
You said: "last without a line break" (5 messages)
--- [6 tokens, NNtoks/s]
4> ^D
`);
});

test("the end of a pipe ends a message; a question that failed is a failure, told at the end", async () => {
  const ask = async (input: string) => {
    const child = Bun.spawn(script, { stdin: new Blob([input]), stdout: "pipe" });
    return { output: await child.stdout.text(), code: await child.exited };
  };
  const open = await ask("/m\nx\ny");
  expect(open.output).toContain('You said: "x\\ny" (1 messages)');
  expect(open.code).toBe(0);
  const failed = await ask("fail\nhello\n");
  expect(failed.output).toContain('You said: "hello"');
  expect(failed.code).toBe(1);
});

test("a signal that ends it leaves the terminal as it was", async () => {
  const models = { object: "list", data: [{ id: "m", object: "model", max_model_len: 100 }] };
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json(models) });
  const main = path.join(import.meta.dir, "../cli/main.ts");
  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    program = startInTerminal([process.execPath, main, "chat", "--url", `http://127.0.0.1:${server.port}`]);
    await program.see("1> ");
    program.kill(signal);
    // Bracketed paste is off again.
    await program.see("\x1b[?2004l");
    expect(await program.exited).toBe(code);
  }
  await server.stop(true);
});
