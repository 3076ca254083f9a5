"""What a Python module looks like from TypeScript: reads modules, writes `.d.ts` text. Imports no library of its own accord."""
