//! Images as JavaScript gets them: the sampler's values, pixels for a canvas, and a PNG that carries its parameters.

use guided_diffusion::recipe::{Recipe, Subject, texts};
use guided_diffusion::run::{Inside, StepInfo};
use guided_diffusion::{Error, Images, png};
use js_sys::{Array, Float32Array, Object, Reflect, Uint8Array, Uint8ClampedArray};
use serde_json::{Value, json};
use wasm_bindgen::JsValue;

use crate::error::{Result, js};

/// Where a batch's images stand in their run.
pub struct Place<'a> {
    /// What makes them.
    pub recipe: &'a Recipe,
    /// Index of the first one.
    pub first_index: u32,
    /// Their classes, or empty.
    pub labels: &'a [u32],
    /// Names of all classes, or empty.
    pub class_names: &'a [String],
    /// For previews: the step, and the noise level that it began with.
    pub preview: Option<(StepInfo, f64)>,
}

/// An array of objects, one per image: the package's `RawImage`.
///
/// # Errors
/// Images of more channels than a picture has.
pub fn pictures(images: &Images, place: &Place<'_>) -> Result<Array> {
    let out = Array::new();
    let recipe = serde_json::to_string(place.recipe).map_err(|e| js(Error::Options(e.to_string())))?;
    for k in 0..images.count() {
        let (index, label) = (place.first_index.saturating_add(k as u32), place.labels.get(k).copied());
        let class = label.and_then(|label| place.class_names.get(label as usize));
        let subject = Subject { index, label, class: class.map(String::as_str) };
        let mut parameters = place.recipe.parameters_of(&subject);
        let texts = match place.preview {
            None => place.recipe.texts_of(&subject),
            Some((StepInfo { done, total, .. }, _)) => {
                // No command makes an unfinished image again; what remains is where it comes from.
                parameters["preview"] = json!(format!("{done}/{total}"));
                texts(&parameters, &[]).into_iter().filter(|(_, text)| !text.is_empty()).collect()
            }
        };
        let pixels = images.pixels(k);
        let mut file = Vec::new();
        png::write(&mut file, &pixels, &texts).map_err(|e| js(Error::Options(e)))?;
        out.push(&object(&[
            ("width", (images.width() as u32).into()),
            ("height", (images.height() as u32).into()),
            ("index", index.into()),
            ("label", label.map_or(JsValue::NULL, JsValue::from)),
            ("values", Float32Array::from(images.image(k)).into()),
            ("rgba", Uint8ClampedArray::from(&*pixels.to_rgba()).into()),
            ("png", Uint8Array::from(&*file).into()),
            ("parameters", strings(&parameters).to_string().into()),
            ("recipe", recipe.as_str().into()),
            ("noiseLevel", place.preview.map_or(JsValue::NULL, |(_, level)| level.into())),
        ]));
    }
    Ok(out)
}

/// Adds to previews what their step worked with: the package's `Inside`. `finds_noise`: the network's output is noise.
pub fn add_inside(previews: &Array, Inside { x, out, gradient }: &Inside, finds_noise: bool) {
    let channels = x.channels();
    for (k, preview) in previews.iter().enumerate() {
        // A learnt variance's channels come after the noise's, pixel by pixel.
        let pixels = out.image(k).chunks(out.channels().max(1));
        let noise: Vec<f32> = pixels.flat_map(|pixel| pixel.iter().take(channels)).copied().collect();
        let inside = object(&[
            ("x", Float32Array::from(x.image(k)).into()),
            ("noise", if finds_noise { Float32Array::from(&*noise).into() } else { JsValue::NULL }),
            ("gradient", gradient.as_ref().map_or(JsValue::NULL, |images| Float32Array::from(images.image(k)).into())),
        ]);
        // As below.
        let _ = Reflect::set(&preview, &"inside".into(), &inside);
    }
}

/// The parameters with their values as text: numbers beyond JavaScript's stay exact.
fn strings(parameters: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    parameters.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), json!(text(value)))).collect()
}

/// A plain object.
pub fn object(fields: &[(&str, JsValue)]) -> Object {
    let out = Object::new();
    for (name, value) in fields {
        // Setting a property of a fresh object cannot fail.
        let _ = Reflect::set(&out, &(*name).into(), value);
    }
    out
}
