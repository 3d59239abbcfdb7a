/* The board that the real boot code runs on, as far as it calls out of what is compiled: tools/first_boots/run.py. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "esp_err.h"
#include "sdkconfig.h"

/* What headers that are left out would define. */
#define IRAM_ATTR
#define FORCE_INLINE_ATTR static inline
#define ESP_DEPRECATED(...)
#define ESP_STATIC_ASSERT _Static_assert
#define ESP_LOG_ATTR_TAG(name, text) static const char *name __attribute__((unused)) = text
#define ESP_LOG_ATTR_STR(text) text
#define SAY(...) do { fprintf(stderr, __VA_ARGS__); fputc('\n', stderr); } while (0)
#define ESP_LOGE(tag, ...) SAY(__VA_ARGS__)
#define ESP_LOGW(tag, ...) SAY(__VA_ARGS__)
#define ESP_LOGI(tag, ...) SAY(__VA_ARGS__)
#define ESP_LOGD(tag, ...) do { } while (0)
#define ESP_LOGV(tag, ...) do { } while (0)
#define ESP_EARLY_LOGE ESP_LOGE
#define ESP_EARLY_LOGW ESP_LOGW
#define ESP_EARLY_LOGI ESP_LOGI
#define ESP_EARLY_LOGD ESP_LOGD
#define BOOT_LOG_ERR SAY
#define BOOT_LOG_WRN SAY
#define BOOT_LOG_INF SAY
#define ESP_FAULT_ASSERT(holds) do { if (!(holds)) end_boot("fault"); } while (0)
#define ESP_RETURN_ON_FALSE(holds, error, ...) do { if (!(holds)) return error; } while (0)
#define ESP_RETURN_ON_ERROR(call, ...) do { int error_ = (call); if (error_) return error_; } while (0)
#define FLASH_SECTOR_SIZE 4096
#define CRC_SIGN_BLOCK_LEN 1196
#ifndef ESP_BOOTLOADER_OFFSET
#define ESP_BOOTLOADER_OFFSET CONFIG_BOOTLOADER_OFFSET_IN_FLASH
#endif

/* The watchdog and the Key Manager have no say in what is burned. */
#define RWDT_HAL_CONTEXT_DEFAULT() 0
#define wdt_hal_write_protect_disable(context)
#define wdt_hal_write_protect_enable(context)
#define wdt_hal_feed(context)
#define esp_crypto_key_mgr_enable_periph_clk(on)
#define key_mgr_hal_set_key_usage(key, use)
typedef int wdt_hal_context_t;

/* MCUboot's own headers, as far as main.c uses them. */
#define FIH_DECLARE(name, value) int name = value
#define FIH_FAILURE 1
#define FIH_SUCCESS 0
#define FIH_CALL(function, result, ...) result = function(__VA_ARGS__)
#define FIH_NOT_EQ(one, other) ((one) != (other))
#define FIH_PANIC end_boot("panic")
struct image_header { uint16_t ih_hdr_size; };
struct boot_rsp { const struct image_header *br_hdr; uint32_t br_image_off; };
int boot_go(struct boot_rsp *response);

#define ESP_LOAD_HEADER_MAGIC 0xace637d3
typedef struct { uint32_t header_magic; uint32_t words[7]; } esp_image_load_header_t;
typedef void *bootloader_sha256_handle_t;

void end_boot(const char *how) __attribute__((noreturn));
void esp_rom_software_reset_system(void);
int bootloader_init(void);
void bootloader_reset(void);
void bootloader_random_disable(void);
void bootloader_fill_random(void *into, size_t length);
void bootloader_ana_clock_glitch_reset_config(bool on);
void os_heap_init(void);
void start_cpu0_image(int image, int slot, int header);
void start_cpu1_image(int image, int slot, int header);
bootloader_sha256_handle_t bootloader_sha256_start(void);
void bootloader_sha256_data(bootloader_sha256_handle_t handle, const void *data, size_t length);
void bootloader_sha256_finish(bootloader_sha256_handle_t handle, uint8_t *digest);
esp_err_t bootloader_sha256_flash_contents(uint32_t at, uint32_t length, uint8_t *digest);
const void *bootloader_mmap(uint32_t at, uint32_t length);
void bootloader_munmap(const void *mapped);
esp_err_t bootloader_flash_read(size_t at, void *into, size_t length, bool decrypted);
esp_err_t bootloader_flash_write(size_t at, void *from, size_t length, bool encrypted);
esp_err_t bootloader_flash_erase_sector(size_t sector);
esp_err_t bootloader_flash_erase_range(uint32_t at, uint32_t length);
uint32_t esp_rom_crc32_le(uint32_t crc, const uint8_t *data, uint32_t length);
int esp_rom_printf(const char *format, ...);
int esp_clk_apb_freq(void);
bool spi_flash_encrypt_ll_is_pseudo_rounds_function_supported(void);
