import { z } from 'zod';
import { duration } from '#config/fields.js';

/** A whole number of seconds, as leases have it. */
const seconds = (least: number) =>
  duration(least).refine((ms) => ms % 1_000 === 0, 'expected whole seconds: leases have no less');

const template = (what: string) =>
  z
    .string()
    .min(1)
    .optional()
    .meta({ description: `Template: ${what}` });

/** The `eureka` block of a publication. */
export const targetFields = {
  leaseDuration: seconds(1_000)
    .prefault('90s')
    .meta({ description: 'Without a heartbeat for this long a server evicts an instance, some time later' }),
  renewInterval: seconds(1_000).prefault('30s').meta({ description: 'Time between two heartbeats of an instance' }),
  zone: template("zone of the instances; that of each one's locality unless set"),
  vip: template(
    "virtual host name, by which Ribbon and Spring Cloud look up; the application's in lower case unless set",
  ),
};

export type EurekaTargetSettings = z.output<z.ZodObject<typeof targetFields>>;
