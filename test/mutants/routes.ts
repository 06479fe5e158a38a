import type { PlantedBug } from "./bugs.ts";

export const routeBugs: PlantedBug[] = [];
