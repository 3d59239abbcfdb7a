/* What the mask ROM and small HAL functions answer, apart from board.c because their real declarations differ by chip. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "sdkconfig.h"

#define SUCCESS 0x3A5A5AA5 /* SB_SUCCESS, every other value is a refusal */

extern uint8_t digests[3][32];
extern int signatures;

bool ets_rsa_pss_verify(const void *key, const uint8_t *signature, const uint8_t *digest, uint8_t *verified) { return true; }
int ets_ecdsa_verify(const void *key, const uint8_t *signature, int curve, const uint8_t *digest, uint8_t *verified) { return 1; }

#if CONFIG_IDF_TARGET_ESP32
int ets_secure_boot_verify_signature(const void *blocks, const uint8_t *image, const uint8_t *trusted, uint8_t *verified)
{
    return signatures && !memcmp(digests[0], trusted, 32) ? SUCCESS : 0;
}
#else
#if CONFIG_IDF_TARGET_ESP32C2
enum { SLOTS = 1, LENGTH = 16 };
#else
enum { SLOTS = 3, LENGTH = 32 };
#endif
int ets_secure_boot_verify_signature(const void *blocks, const uint8_t *image, const void *const *trusted, uint8_t *verified)
{
    for (int block = 0; block < signatures && block < SLOTS; block++) {
        for (int slot = 0; slot < SLOTS; slot++) {
            if (trusted[slot] && !memcmp(digests[block], trusted[slot], LENGTH)) {
                return SUCCESS;
            }
        }
    }
    return 0;
}
#endif

uint32_t efuse_hal_convert_recovery_bootloader_address_to_flash_sectors(uint32_t address) { return address / 4096; }
bool efuse_hal_recovery_bootloader_enabled(void) { return false; }
uint32_t efuse_hal_get_recovery_bootloader_address(void) { return 0; }
#if CONFIG_IDF_TARGET_ESP32C3
int efuse_ll_get_err_rst_enable(void) { return 0; }
#endif
