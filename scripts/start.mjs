/** npm start [-- fgserve's arguments]: set-up, then the server. The variable MODEL may name a model too. */
import * as path from "node:path";
import { root, runCommand, runScript } from "./commands.mjs";
import { runEnvironment } from "./native-libraries.mjs";
import { setup } from "./setup.mjs";

await runScript(async () => {
  await setup();
  const model = process.env.MODEL ? [process.env.MODEL] : [];
  return runCommand(path.join(root, "fgserve"), [...model, ...process.argv.slice(2)], {
    // npm has changed to the checkout by now, but paths on the command line are relative to the caller's folder.
    cwd: process.env.INIT_CWD ?? process.cwd(),
    env: runEnvironment(),
  });
});
