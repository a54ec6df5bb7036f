/*
 * settings.h
 *		The variables behind the settings, for all subsystems.
 *
 * Settings with a unit of time (GUC_UNIT_S) are in seconds.
 */
#ifndef PG_CAS_SETTINGS_H
#define PG_CAS_SETTINGS_H

#define SETTING(type, member, id, ...) extern type pg_cas_##id;
#include "settinglist.h"
#undef SETTING

#endif							/* PG_CAS_SETTINGS_H */
