import type { PlantedBug } from "./bugs.ts";

export const generationBugs: PlantedBug[] = [];
