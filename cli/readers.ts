/** Whoever reads the tools' output: what happens when they leave, as `head` does after some lines. */

let outlived = false;

/** From now on the program ends without a word when the reader of its output has left: there is nobody to tell. */
export function endWithReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (outlived) return;
      if (error.code === "EPIPE") process.exit();
      if (stream === process.stdout) console.error(`error: the output cannot be written: ${error.message}`);
      process.exit(1);
    });
  }
}

/** From now on the program goes on without them: a server works for others. */
export function outliveReaders(): void {
  outlived = true;
}
