//! `preprocessor_config.json` in all the shapes that exist, and timm's `pretrained_cfg`.

use serde_json::{Map, Value, json};

use super::{
    preprocess::{Preprocess, Scale},
    resize::Filter,
};
use crate::error::{Error, Result};

/// transformers' processor for models of timm.
const TIMM_WRAPPER: &str = "TimmWrapperImageProcessor";

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

/// What a processor class does where its file says nothing (transformers' own defaults).
struct Defaults {
    scale: Scale,
    square: bool,
    filter: Filter,
    crop: bool,
    crop_size: usize,
    mean_std: ([f32; 3], [f32; 3]),
}

/// One JSON object with its file name for messages.
struct Fields<'a> {
    name: &'a str,
    object: &'a Map<String, Value>,
}

pub(super) fn read(processor: Option<(&str, &str)>, config: (&str, &str)) -> Result<Preprocess> {
    let config_value = object(config)?;
    let config = Fields { name: config.0, object: &config_value };
    if let Some(text) = processor {
        let own = object(text)?;
        let fields = Fields { name: text.0, object: &own };
        if fields.get("image_processor_type").and_then(Value::as_str) != Some(TIMM_WRAPPER) {
            return read_processor(&fields, &config);
        }
        return read_timm_wrapper(&fields, &config);
    }
    if let Some(Value::Object(cfg)) = config.get("pretrained_cfg") {
        return read_timm(&Fields { name: config.name, object: cfg });
    }
    let none = Map::new();
    read_processor(&Fields { name: config.name, object: &none }, &config)
}

/// Steps that are not done here, and settings that only they have.
const REFUSED: [&str; 7] = [
    "crop_pct",
    "do_flip_channel_order",
    "do_grayscale",
    "do_pad",
    "offset",
    "rescale_offset",
    "size_divisor",
];

fn refuse_steps(fields: &Fields) -> Result<()> {
    let is_set = |key: &&str| fields.get(key).is_some_and(|value| *value != Value::Bool(false));
    let Some(key) = REFUSED.iter().find(|key| is_set(key)) else { return Ok(()) };
    let reason =
        "it changes the pixels in a way that is not done here; prepare the images so and take it out";
    Err(Error::Unsupported { name: fields.name.into(), option: (*key).into(), reason: reason.into() })
}

fn read_processor(fields: &Fields, config: &Fields) -> Result<Preprocess> {
    refuse_steps(fields)?;
    let defaults = defaults(fields, config)?;
    let image_size = image_size(config)?;
    let scale = if fields.flag("do_resize", true)? { fields.scale(&defaults)? } else { Scale::Keep };
    let crop = if fields.flag("do_center_crop", defaults.crop)? {
        Some(fields.size("crop_size")?.unwrap_or((defaults.crop_size, defaults.crop_size)))
    } else {
        None
    };
    let mut preprocess = Preprocess::new(fields.name, scale, crop, image_size)?;
    preprocess.filter = fields.filter("resample")?.unwrap_or(defaults.filter);
    preprocess.rescale = match fields.flag("do_rescale", true)? {
        true => fields.number("rescale_factor")?.unwrap_or(1.0 / 255.0) as f32,
        false => 1.0,
    };
    if fields.flag("do_normalize", true)? {
        let mean = fields.channels("image_mean")?.unwrap_or(defaults.mean_std.0);
        let std = fields.channels("image_std")?.unwrap_or(defaults.mean_std.1);
        return checked(fields.name, preprocess.with_mean_std(mean, std));
    }
    checked(fields.name, preprocess.with_mean_std([0.0; 3], [1.0; 3]))
}

/// The class of a processor decides its defaults; without a file the architecture does.
fn defaults(fields: &Fields, config: &Fields) -> Result<Defaults> {
    let named =
        ["image_processor_type", "feature_extractor_type"].into_iter().find(|key| fields.get(key).is_some());
    let name = |key| fields.get(key).and_then(Value::as_str).ok_or_else(|| fields.error(key, "a name"));
    let class = named.map(name).transpose()?;
    let class = class.or_else(|| config.get("model_type")?.as_str()).unwrap_or("vit");
    let kind = class.split("ImageProcessor").next().unwrap_or(class);
    let kind = kind.split("FeatureExtractor").next().unwrap_or(kind).to_lowercase();
    let side = |filter, crop, mean_std| Defaults {
        scale: Scale::Exact(224, 224),
        square: true,
        filter,
        crop,
        crop_size: 224,
        mean_std,
    };
    match kind.as_str() {
        "vit" => Ok(Defaults { scale: exact(image_size(config)?), ..side(Filter::Bilinear, false, HALF) }),
        "deit" => Ok(Defaults { scale: Scale::Exact(256, 256), ..side(Filter::Bicubic, true, HALF) }),
        "beit" => Ok(Defaults { scale: Scale::Exact(256, 256), ..side(Filter::Bicubic, true, HALF) }),
        "bit" | "dinov2" | "clip" => {
            let shortest = Defaults {
                scale: Scale::ShortestEdge(224),
                square: false,
                ..side(Filter::Bicubic, true, CLIP)
            };
            Ok(shortest)
        }
        _ => Err(Error::Unsupported {
            name: fields.name.into(),
            option: format!("image_processor_type {class}"),
            reason: "known are ViT, DeiT, BEiT, BiT and CLIP; write the settings as a ViTImageProcessor"
                .into(),
        }),
    }
}

fn exact(size: (usize, usize)) -> Scale {
    Scale::Exact(size.0, size.1)
}

/// A processor that only points at timm's settings, which are beside it or in `config.json`.
fn read_timm_wrapper(fields: &Fields, config: &Fields) -> Result<Preprocess> {
    for own in [fields, config] {
        if let Some(Value::Object(cfg)) = own.get("pretrained_cfg") {
            return read_timm(&Fields { name: own.name, object: cfg });
        }
    }
    let reason =
        "neither this file nor config.json has `pretrained_cfg`; take config.json from timm's own repository";
    let option = format!("image_processor_type {TIMM_WRAPPER}");
    Err(Error::Unsupported { name: fields.name.into(), option, reason: reason.into() })
}

/// timm's own settings: the shorter side to input / `crop_pct`, then a centre crop.
fn read_timm(fields: &Fields) -> Result<Preprocess> {
    let input: Vec<u64> = fields
        .get("input_size")
        .and_then(Value::as_array)
        .map_or(vec![3, 224, 224], |sizes| sizes.iter().map(|size| size.as_u64().unwrap_or(0)).collect());
    let &[3, height, width] = input.as_slice() else {
        return Err(Error::config(fields.name, "pretrained_cfg.input_size", "must be [3, height, width]"));
    };
    let size = (fields.side("input_size", height)?, fields.side("input_size", width)?);
    let pct = fields.number("crop_pct")?.filter(|pct| *pct > 0.0).unwrap_or(0.875);
    let enlarged = |side: usize| (side as f64 / pct).floor() as usize;
    let scale = match fields.get("crop_mode").and_then(Value::as_str).unwrap_or("center") {
        "center" if size.0 == size.1 => Scale::ShortestEdge(enlarged(size.0)),
        "squash" => Scale::Exact(enlarged(size.0), enlarged(size.1)),
        other => {
            let reason = "known are `center` on square inputs and `squash`".to_string();
            return Err(Error::Unsupported {
                name: fields.name.into(),
                option: format!("crop_mode {other}"),
                reason,
            });
        }
    };
    let mut preprocess = Preprocess::new(fields.name, scale, Some(size), size)?;
    preprocess.filter = fields.filter("interpolation")?.unwrap_or(Filter::Bicubic);
    let mean = fields.channels("mean")?.unwrap_or(IMAGENET.0);
    checked(fields.name, preprocess.with_mean_std(mean, fields.channels("std")?.unwrap_or(IMAGENET.1)))
}

fn checked(name: &str, preprocess: Preprocess) -> Result<Preprocess> {
    // One below the normal numbers has no reciprocal.
    if preprocess.std.iter().any(|value| !value.is_normal() || *value <= 0.0) {
        return Err(Error::config(name, "image_std", "must be above zero"));
    }
    // Zero would make all pictures the same.
    if !preprocess.rescale.is_normal() || preprocess.rescale <= 0.0 {
        return Err(Error::config(name, "rescale_factor", "must be above zero, e.g. 1/255"));
    }
    Ok(preprocess)
}

/// `image_size` of `config.json`: a number or [height, width].
fn image_size(config: &Fields) -> Result<(usize, usize)> {
    Ok(config.size("image_size")?.unwrap_or((224, 224)))
}

fn object((name, text): (&str, &str)) -> Result<Map<String, Value>> {
    serde_json::from_str(text)
        .map_err(|error| Error::config(name, "-", format!("not a JSON object: {error}")))
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn error(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map(Value::to_string).unwrap_or_default();
        Error::config(self.name, key, format!("`{found:.80}` is not {expected}"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key)
            .map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.error(key, "true or false")))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let finite = |value: &Value| value.as_f64().filter(|number| number.is_finite());
        self.get(key).map(|value| finite(value).ok_or_else(|| self.error(key, "a number"))).transpose()
    }

    /// Three numbers, or one for all channels.
    fn channels(&self, key: &str) -> Result<Option<[f32; 3]>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number =
            |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        let three = |values: &Vec<Value>| -> Option<[f32; 3]> {
            let numbers: Vec<f32> = values.iter().map(number).collect::<Option<_>>()?;
            numbers.try_into().ok()
        };
        let found = value.as_array().map_or_else(|| number(value).map(|one| [one; 3]), three);
        found.map(Some).ok_or_else(|| self.error(key, "three numbers"))
    }

    fn filter(&self, key: &str) -> Result<Option<Filter>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let code = value.as_u64().and_then(Filter::from_code);
        let found = code.or_else(|| Filter::from_name(&value.as_str()?.to_lowercase()));
        found.map(Some).ok_or_else(|| self.error(key, "a Pillow filter (0 to 5)"))
    }

    /// A side in pixels; the upper limit keeps a malformed file from asking for memory.
    fn side(&self, key: &str, value: u64) -> Result<usize> {
        let limit = 1..=8192;
        if limit.contains(&value) {
            Ok(value as usize)
        } else {
            Err(self.error(key, "between 1 and 8192 pixels"))
        }
    }

    /// (height, width) from a number, [height, width] or {"height", "width"}.
    fn size(&self, key: &str) -> Result<Option<(usize, usize)>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let pair = match value {
            Value::Array(sides) if sides.len() == 2 => (sides[0].as_u64(), sides[1].as_u64()),
            Value::Object(sides) => {
                (sides.get("height").and_then(Value::as_u64), sides.get("width").and_then(Value::as_u64))
            }
            side => (side.as_u64(), side.as_u64()),
        };
        let (Some(height), Some(width)) = pair else {
            let expected = "a side or a height and a width in whole pixels, and transformers takes nothing else here either";
            return Err(self.error(key, expected));
        };
        Ok(Some((self.side(key, height)?, self.side(key, width)?)))
    }

    fn scale(&self, defaults: &Defaults) -> Result<Scale> {
        let shortest = |value: &Value| value.as_u64().ok_or_else(|| self.error("size", "a number of pixels"));
        match self.get("size") {
            None => Ok(defaults.scale),
            Some(Value::Object(size)) if size.contains_key("shortest_edge") && size.len() == 1 => {
                Ok(Scale::ShortestEdge(self.side("size", shortest(&size["shortest_edge"])?)?))
            }
            Some(Value::Object(size))
                if size.contains_key("shortest_edge") && size.contains_key("longest_edge") =>
            {
                let edge = |key: &str| self.side("size", shortest(&size[key])?);
                Ok(Scale::Edges(edge("shortest_edge")?, edge("longest_edge")?))
            }
            Some(value) if value.is_number() && !defaults.square => {
                Ok(Scale::ShortestEdge(self.side("size", shortest(value)?)?))
            }
            Some(_) => Ok(self.size("size")?.map_or(defaults.scale, exact)),
        }
    }
}

pub(super) fn write(preprocess: &Preprocess) -> Value {
    let pair = |(height, width): (usize, usize)| json!({"height": height, "width": width});
    // Bit's processor has a centre crop; ViT's has none, and transformers would ignore ours.
    let class = if preprocess.center_crop.is_some() { "BitImageProcessor" } else { "ViTImageProcessor" };
    json!({
        "image_processor_type": class,
        "do_resize": preprocess.scale != Scale::Keep,
        "size": match preprocess.scale {
            Scale::Exact(height, width) => pair((height, width)),
            Scale::ShortestEdge(edge) => json!({"shortest_edge": edge}),
            Scale::Edges(shortest, longest) => json!({"shortest_edge": shortest, "longest_edge": longest}),
            Scale::Keep => pair(preprocess.input_size()),
        },
        "resample": preprocess.filter as u8,
        "do_center_crop": preprocess.center_crop.is_some(),
        "crop_size": pair(preprocess.input_size()),
        "do_rescale": preprocess.rescale != 1.0,
        "rescale_factor": preprocess.rescale,
        "do_normalize": true,
        "image_mean": preprocess.mean,
        "image_std": preprocess.std,
    })
}
