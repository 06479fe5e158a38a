/** npm start [-- fgserve's arguments]: set-up, then the server. MODEL names a model: a directory or "org/name". */
import * as path from "node:path";
import { root, runCommand, runScript, setup } from "./setup.mjs";

await runScript(async () => {
  await setup();
  const model = process.env.MODEL ? [process.env.MODEL] : [];
  return runCommand(path.join(root, "fgserve"), [...model, ...process.argv.slice(2)], {
    // Paths on the command line are the caller's: npm has moved to the checkout by now.
    cwd: process.env.INIT_CWD ?? process.cwd(),
  });
});
