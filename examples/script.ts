// Python without an app: a script that asks numpy which frequency is loudest. npx tsx examples/script.ts
import { startPython } from "flambeau";

await using py = await startPython({ requirements: ["numpy"] });
const numpy = py.import("numpy");

// A second of 50 Hz with something of 120 Hz, made and analysed in Python: only the strengths come back.
const time = numpy.linspace(0, 1, { num: 1000, endpoint: false });
const wave = py.expr`${numpy}.sin(2 * ${numpy}.pi * 50 * ${time}) + 0.3 * ${numpy}.sin(2 * ${numpy}.pi * 120 * ${time})`;
const strengths = await numpy.abs(numpy.fft.rfft(wave)).$array(Float64Array);

console.log(`loudest: ${strengths.indexOf(Math.max(...strengths))} Hz`);
