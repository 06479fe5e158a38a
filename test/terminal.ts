/** A program in a pseudo-terminal, driven the way a user would. */

export interface TerminalProgram {
  /** Everything shown so far. */
  readonly shown: string;
  type(text: string): void;
  /** Waits until `text` appears after what earlier calls waited for. Throws with what was shown instead. */
  see(text: string, seconds?: number): Promise<void>;
  exited: Promise<number>;
  kill(signal?: NodeJS.Signals): void;
}

export function startInTerminal(
  command: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): TerminalProgram {
  const decoder = new TextDecoder();
  let shown = "";
  let seen = 0;
  const child = Bun.spawn(command, {
    cwd: options.cwd,
    env: { ...process.env, TERM: "xterm-256color", ...options.env },
    terminal: {
      cols: 100,
      rows: 30,
      data(_terminal, bytes) {
        shown += decoder.decode(bytes, { stream: true });
      },
    },
  });
  return {
    get shown() {
      return shown;
    },
    type: (text) => void child.terminal!.write(text),
    async see(text, seconds = 10) {
      const deadline = performance.now() + seconds * 1000;
      while (true) {
        const at = shown.indexOf(text, seen);
        if (at >= 0) {
          seen = at + text.length;
          return;
        }
        if (performance.now() > deadline) {
          throw new Error(
            `waited ${seconds} s for ${JSON.stringify(text)}; shown: ${JSON.stringify(shown.slice(seen))}`,
          );
        }
        await Bun.sleep(10);
      }
    },
    exited: child.exited,
    kill: (signal = "SIGKILL") => child.kill(signal),
  };
}
